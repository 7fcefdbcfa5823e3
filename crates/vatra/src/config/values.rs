//! Words that a configuration may use, each a type of its own.

/// Declares an enum of words with `ALLOWED`, `parse` and `as_str`.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum $name {
            $($(#[$variant_doc])* $variant),+
        }

        impl $name {
            /// All words.
            pub(crate) const WORDS: &[&str] = &[$($word),+];

            /// The value of a word.
            pub(crate) fn parse(word: &str) -> Option<$name> {
                match word {
                    $($word => Some($name::$variant),)+
                    _ => None,
                }
            }

            /// The word of a value.
            pub(crate) fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $word),+
                }
            }
        }
    };
}

words!(
    /// What a node's links cost.
    LinkProfile {
        /// Ordinary wide-area links.
        Wan = "wan",
        /// Links paid by volume or very thin, as by satellite: slower beacons, longer time-outs.
        Metered = "metered",
    }
);

words!(
    /// What keeps the store.
    EngineKind {
        /// The default engine.
        Redb = "redb",
        /// The alternative engine; the binary must be built with the feature `sled`.
        Sled = "sled",
        /// Nothing survives a restart: for tests only.
        Memory = "memory",
    }
);

words!(
    /// What a caller of the API may do; each role includes those before it.
    TokenRole {
        /// Reads and follows streams.
        Subscriber = "subscriber",
        /// Publishes and answers alerts, keeps contacts.
        Contributor = "contributor",
        /// Cuts and heals links in drills.
        Operator = "operator",
        /// Everything.
        Admin = "admin",
    }
);
