//! Enumerations of the wire format: one table of names, from which all else follows.
//!
//! Jackson reads an enumeration from its name or from its index, and so do we.

/// Declares a field-less enumeration whose variants have names on the wire.
///
/// The first variant of every list is index 0. `Default` is derived from `#[default]`.
macro_rules! choice {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $( $(#[$variant_meta:meta])* $variant:ident = $text:literal, )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $( $(#[$variant_meta])* $variant, )+
        }

        impl $name {
            /// Every variant, in the order of the wire format's declaration.
            pub const ALL: &'static [Self] = &[$( Self::$variant, )+];
            /// The names on the wire, in the same order.
            pub const NAMES: &'static [&'static str] = &[$( $text, )+];

            /// The name on the wire.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $( Self::$variant => $text, )+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = serde_json::Value::deserialize(deserializer)?;
                crate::definition::coerce::index_of(&value, Self::NAMES)
                    .map(|index| Self::ALL[index])
                    .ok_or_else(|| {
                        serde::de::Error::custom(format_args!(
                            "expected one of {}, got {value}",
                            Self::NAMES.join(", "),
                        ))
                    })
            }
        }
    };
}

pub(crate) use choice;
