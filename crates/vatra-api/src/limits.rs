//! Bounds on what callers may send and get. Sizes are bytes.

/// Body of a request, the bulk route apart.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Body of a bulk request; it is streamed, never held whole.
pub const BULK_BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// One line of a bulk request.
pub const BULK_LINE_BYTES_MAX: usize = BODY_BYTES_MAX;
/// Lines of a bulk request.
pub const BULK_LINES_MAX: u64 = 200_000;
/// Lines that are handed to the node at once, to be committed together.
pub const BULK_GROUP_LINES: usize = 256;
/// Bytes of lines that are handed to the node at once, unless a single line is larger.
pub const BULK_GROUP_BYTES_MAX: usize = 512 * 1024;
/// Groups of one bulk request that are parsed or committed at the same time.
pub const BULK_GROUPS_IN_FLIGHT: usize = 4;
/// Bytes of bulk answers that wait for a caller that does not read. Answers to as many good lines as a request
/// may have fit, so only a caller that sends many bad lines and never reads meets it.
pub const BULK_ANSWER_BYTES_MAX: usize = 24 * 1024 * 1024;
/// Pieces of a bundle on their way between a caller and the node, in each direction.
pub const BUNDLE_PIECES_WAITING: usize = 8;
/// Head of a request: request line and headers.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Headers of a request.
pub const HEADERS_MAX: usize = 64;
/// Buffer of a connection, in each direction.
pub const CONNECTION_BUFFER_BYTES: usize = 64 * 1024;
/// Nesting of objects and lists in a JSON body.
pub const JSON_DEPTH_MAX: usize = 16;
/// Parameters of a query string.
pub const PARAMETERS_MAX: usize = 48;
/// Items of a page unless the caller asks for another number.
pub const PAGE_ITEMS_DEFAULT: usize = 100;
/// Items of a page.
pub const PAGE_ITEMS_MAX: usize = 1000;
/// Length of a drill's cut, in seconds.
pub const CUT_SECONDS_MAX: u64 = 24 * 60 * 60;
/// Members that one drill names.
pub const CUT_MEMBERS_MAX: usize = vatra_model::limits::MEMBERS_MAX;
/// Characters of a reason.
pub const REASON_CHARS_MAX: usize = 256;
/// Bytes that a stream sends in one piece when several events wait.
pub const STREAM_PIECE_BYTES: usize = 32 * 1024;
