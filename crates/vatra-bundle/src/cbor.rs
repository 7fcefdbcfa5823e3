//! Reading CBOR with bounds: what is longer, or of another type, is refused by its name.

use minicbor::Decoder;
use minicbor::data::Type;

/// A part that is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Reads the head of a definite array of exactly `len` items.
pub(crate) fn array(d: &mut Decoder<'_>, what: &'static str, len: u64) -> Result<(), Malformed> {
    if matches!(d.array(), Ok(Some(found)) if found == len) { Ok(()) } else { Err(Malformed(what)) }
}

/// Reads the length of a definite array of at most `max` items.
pub(crate) fn list(d: &mut Decoder<'_>, what: &'static str, max: usize) -> Result<usize, Malformed> {
    let len = d.array().ok().flatten().ok_or(Malformed(what))?;
    usize::try_from(len).ok().filter(|len| *len <= max).ok_or(Malformed(what))
}

/// Reads a byte string of exactly `N` bytes.
pub(crate) fn fixed<const N: usize>(d: &mut Decoder<'_>, what: &'static str) -> Result<[u8; N], Malformed> {
    d.bytes().ok().and_then(|bytes| bytes.try_into().ok()).ok_or(Malformed(what))
}

/// Reads a byte string of at most `max` bytes.
pub(crate) fn bytes<'b>(d: &mut Decoder<'b>, what: &'static str, max: usize) -> Result<&'b [u8], Malformed> {
    d.bytes().ok().filter(|bytes| bytes.len() <= max).ok_or(Malformed(what))
}

/// Reads a text of at most `max` bytes without control characters.
pub(crate) fn line<'b>(d: &mut Decoder<'b>, what: &'static str, max: usize) -> Result<&'b str, Malformed> {
    let text = d.str().map_err(|_| Malformed(what))?;
    if text.len() <= max && !text.chars().any(char::is_control) { Ok(text) } else { Err(Malformed(what)) }
}

/// Reads an unsigned number.
pub(crate) fn unsigned(d: &mut Decoder<'_>, what: &'static str) -> Result<u64, Malformed> {
    d.u64().map_err(|_| Malformed(what))
}

/// Whether the next item is null, which is then behind.
pub(crate) fn is_null(d: &mut Decoder<'_>, what: &'static str) -> Result<bool, Malformed> {
    match d.datatype() {
        Ok(Type::Null) => d.null().map(|()| true).map_err(|_| Malformed(what)),
        Ok(_) => Ok(false),
        Err(_) => Err(Malformed(what)),
    }
}

/// Refuses what follows the last item.
pub(crate) fn end(d: &Decoder<'_>, len: usize) -> Result<(), Malformed> {
    if d.position() == len { Ok(()) } else { Err(Malformed("trailing bytes")) }
}
