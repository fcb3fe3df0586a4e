//! Reads JSON as any deserializer would, and notes which variants and fields it met on the way.
//!
//! The lists of what there is to meet come from the types themselves: what serde derives hands the
//! names of all variants and fields to the deserializer. So a variant or field that is added to a
//! stored type is missing here without anybody having to think of it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer,
    MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Value};

/// The name under which `serde_json` asks for a value as it is written.
const RAW: &str = "$serde_json::private::RawValue";

/// What was met in all that was read.
#[derive(Default)]
pub(crate) struct Coverage {
    enums: RefCell<BTreeMap<Type, BTreeSet<String>>>,
    fields: RefCell<BTreeMap<(Type, &'static str), Met>>,
    roots: RefCell<Vec<Root>>,
}

/// A type by its name and its variants or fields: several types may share a name.
type Type = (String, &'static [&'static str]);

/// What was met of a field.
#[derive(Default)]
struct Met {
    /// Where it is first present: the number of the root, and the pointer within it.
    present: Option<(usize, String)>,
    /// Somewhere it is absent.
    absent: bool,
}

/// Something that was read as a whole.
struct Root {
    value: Value,
    parses: fn(&Value) -> bool,
}

impl Coverage {
    /// Reads a value, noting what is met.
    pub(crate) fn read<T: DeserializeOwned>(&self, value: &Value) -> Result<T, Error> {
        self.roots.borrow_mut().push(Root {
            value: value.clone(),
            parses: |value| serde_json::from_value::<T>(value.clone()).is_ok(),
        });
        T::deserialize(Reader { value, at: String::new(), coverage: self })
    }

    /// Variants that were not met, fields that were never present, and fields that may be absent
    /// and never were; one line each.
    pub(crate) fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for ((name, variants), met) in &*self.enums.borrow() {
            for variant in variants.iter().filter(|variant| !met.contains(**variant)) {
                missing.push(format!("`{name}`: nothing has the variant `{variant}`"));
            }
        }
        for (((name, _), field), met) in &*self.fields.borrow() {
            match &met.present {
                None => missing.push(format!("`{name}`: nothing has the field `{field}`")),
                Some((root, at)) if !met.absent && self.is_optional(*root, at) => {
                    missing.push(format!("`{name}`: nothing is without the field `{field}`"));
                }
                Some(_) => {}
            }
        }
        missing
    }

    /// Whether what was read is still read without the member at a pointer.
    fn is_optional(&self, root: usize, at: &str) -> bool {
        let root = &self.roots.borrow()[root];
        let mut value = root.value.clone();
        let (owner, name) = at.rsplit_once('/').expect("a member's pointer has a slash");
        let name = name.replace("~1", "/").replace("~0", "~");
        let owner = value.pointer_mut(owner).and_then(Value::as_object_mut);
        owner.expect("it was read there").remove(&name);
        (root.parses)(&value)
    }

    fn note_fields(&self, name: &str, fields: &'static [&'static str], value: &Value, at: &str) {
        let Value::Object(members) = value else { return };
        let root = self.roots.borrow().len() - 1;
        let mut known = self.fields.borrow_mut();
        for field in fields {
            let met = known.entry(((name.to_owned(), fields), field)).or_default();
            match members.get(*field) {
                None | Some(Value::Null) => met.absent = true,
                Some(_) if met.present.is_none() => {
                    met.present = Some((root, format!("{at}/{}", escaped(field))));
                }
                Some(_) => {}
            }
        }
    }
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// One value on its way into a type.
struct Reader<'a, 'de> {
    value: &'de Value,
    at: String,
    coverage: &'a Coverage,
}

impl<'de> Reader<'_, 'de> {
    fn inner(&self, value: &'de Value, name: &str) -> Self {
        Self { value, at: format!("{}/{}", self.at, escaped(name)), coverage: self.coverage }
    }
}

macro_rules! as_it_is {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.value.$method(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Reader<'_, 'de> {
    type Error = Error;

    as_it_is! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32
        deserialize_f64 deserialize_char deserialize_str deserialize_string deserialize_bytes
        deserialize_byte_buf deserialize_unit deserialize_identifier deserialize_ignored_any
    }

    forward_to_deserialize_any! { seq map }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Array(items) => {
                visitor.visit_seq(Items { owner: &self, items: items.iter().enumerate() })
            }
            Value::Object(members) => {
                visitor.visit_map(Members { owner: &self, rest: members.iter(), value: None })
            }
            value => value.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.value.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == RAW {
            return self.value.deserialize_newtype_struct(name, visitor);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.coverage.note_fields(name, fields, self.value, &self.at);
        self.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let (variant, content) = match self.value {
            Value::String(variant) => (variant, None),
            Value::Object(members) if members.len() == 1 => {
                let (variant, content) = members.iter().next().expect("it has one member");
                (variant, Some(self.inner(content, variant)))
            }
            _ => return Err(Error::custom(format!("{} is no variant of {name}", self.value))),
        };
        let mut enums = self.coverage.enums.borrow_mut();
        enums.entry((name.to_owned(), variants)).or_default().insert(variant.clone());
        drop(enums);
        visitor.visit_enum(Variant { owner: name, name: variant, content })
    }
}

struct Items<'a, 'de> {
    owner: &'a Reader<'a, 'de>,
    items: std::iter::Enumerate<std::slice::Iter<'de, Value>>,
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let Some((index, item)) = self.items.next() else { return Ok(None) };
        seed.deserialize(self.owner.inner(item, &index.to_string())).map(Some)
    }
}

struct Members<'a, 'de> {
    owner: &'a Reader<'a, 'de>,
    rest: serde_json::map::Iter<'de>,
    value: Option<(&'de String, &'de Value)>,
}

impl<'de> MapAccess<'de> for Members<'_, 'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        self.value = self.rest.next();
        self.value.map(|(name, _)| seed.deserialize(Key(name))).transpose()
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        let (name, value) = self.value.take().expect("a key comes before its value");
        seed.deserialize(self.owner.inner(value, name))
    }
}

/// A member's name; that of a map may stand for a number.
struct Key<'de>(&'de str);

macro_rules! numbers {
    ($($method:ident $visit:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.0.parse() {
                Ok(number) => visitor.$visit(number),
                Err(_) => visitor.visit_borrowed_str(self.0),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for Key<'de> {
    type Error = Error;

    numbers! {
        deserialize_i32 visit_i32 deserialize_i64 visit_i64
        deserialize_u32 visit_u32 deserialize_u64 visit_u64
    }

    forward_to_deserialize_any! {
        bool i8 i16 i128 u8 u16 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct map struct identifier ignored_any
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_str(self.0)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let name: StrDeserializer<'de, Error> = self.0.into_deserializer();
        visitor.visit_enum(name)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }
}

struct Variant<'a, 'de> {
    owner: &'static str,
    name: &'de str,
    content: Option<Reader<'a, 'de>>,
}

impl<'a, 'de> Variant<'a, 'de> {
    fn content(self) -> Result<Reader<'a, 'de>, Error> {
        let lacking = || Error::custom(format!("{}::{} lacks its content", self.owner, self.name));
        self.content.ok_or_else(lacking)
    }
}

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Error> {
        let name: StrDeserializer<'de, Error> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.content {
            None => Ok(()),
            Some(_) => Err(Error::custom(format!("{}::{} has none", self.owner, self.name))),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(self.content()?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.content()?.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let name = format!("{}::{}", self.owner, self.name);
        let content = self.content()?;
        content.coverage.note_fields(&name, fields, content.value, &content.at);
        content.deserialize_any(visitor)
    }
}
