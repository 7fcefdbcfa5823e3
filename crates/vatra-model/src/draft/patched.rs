//! What a patch says of a field: nothing, a new value, or that it is to be cleared.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A register in a patch: absent, `null` or a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Patched<T> {
    /// Stays as it is.
    #[default]
    Keep,
    /// Is cleared.
    Clear,
    /// Gets a new value.
    To(T),
}

impl<T> Patched<T> {
    /// Whether the patch says nothing of the field.
    #[must_use]
    pub fn is_keep(&self) -> bool {
        matches!(self, Patched::Keep)
    }

    /// The new value, if there is one.
    #[must_use]
    pub fn as_new(&self) -> Option<&T> {
        match self {
            Patched::To(value) => Some(value),
            Patched::Keep | Patched::Clear => None,
        }
    }
}

impl<T> From<T> for Patched<T> {
    fn from(value: T) -> Self {
        Patched::To(value)
    }
}

impl<T: Serialize> Serialize for Patched<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_new().serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patched<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Patched::Clear, Patched::To))
    }
}

/// A set in a patch: absent, a list that is its exact new content, or `{"add": [..], "remove": [keys]}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SetPatch<T> {
    /// Stays as it is.
    #[default]
    Keep,
    /// Becomes exactly this.
    Exactly(Vec<T>),
    /// Gains and loses elements.
    Change {
        /// Elements to add or replace.
        add: Vec<T>,
        /// Keys of elements to remove.
        remove: Vec<String>,
    },
}

impl<T> SetPatch<T> {
    /// Whether the patch says nothing of the set.
    #[must_use]
    pub fn is_keep(&self) -> bool {
        matches!(self, SetPatch::Keep)
    }

    /// The elements that the set gains.
    #[must_use]
    pub fn added(&self) -> &[T] {
        match self {
            SetPatch::Keep => &[],
            SetPatch::Exactly(items) | SetPatch::Change { add: items, .. } => items,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AddRemove<T> {
    #[serde(default = "Vec::new")]
    add: Vec<T>,
    #[serde(default)]
    remove: Vec<String>,
}

impl<T: Serialize> Serialize for SetPatch<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            SetPatch::Keep => serializer.serialize_none(),
            SetPatch::Exactly(items) => items.serialize(serializer),
            SetPatch::Change { add, remove } => {
                AddRemove { add: add.iter().collect(), remove: remove.clone() }.serialize(serializer)
            }
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for SetPatch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListOrChange<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ListOrChange<T> {
            type Value = SetPatch<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list, or an object with add and remove")
            }

            fn visit_unit<E>(self) -> Result<SetPatch<T>, E> {
                Ok(SetPatch::Exactly(Vec::new()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<SetPatch<T>, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(SetPatch::Exactly(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<SetPatch<T>, A::Error> {
                let AddRemove { add, remove } = AddRemove::deserialize(MapAccessDeserializer::new(fields))?;
                Ok(SetPatch::Change { add, remove })
            }
        }

        deserializer.deserialize_any(ListOrChange(PhantomData))
    }
}
