//! Looks one value up in a JSON text without reading it into a tree: deliveries come by the hundred thousand a second.

use serde_json::Value;

/// One step into a JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Into an object, by the key as it is written.
    Key(String),
    /// Into an array, from 0.
    Index(usize),
}

/// The way to a value, from the outermost one.
pub type Path = Vec<Step>;

/// A JSON pointer (RFC 6901); a number may lead into an array or an object, and an array is meant.
///
/// # Errors
/// It does not begin with a slash.
pub fn pointer(text: &str) -> Result<Path, String> {
    if text.is_empty() {
        return Ok(Path::new());
    }
    let steps = text.strip_prefix('/').ok_or_else(|| {
        format!("{text:?} is no JSON pointer; one looks like /data/room, and an empty one is the whole frame")
    })?;
    let step = |step: &str| match step.parse() {
        Ok(index) => Step::Index(index),
        Err(_) => Step::Key(step.replace("~1", "/").replace("~0", "~")),
    };
    Ok(steps.split('/').map(step).collect())
}

/// The text of the value at `path`; none if it is not there. Of a damaged text it may be some part.
#[must_use]
pub fn at<'a>(json: &'a str, path: &[Step]) -> Option<&'a str> {
    let bytes = json.as_bytes();
    let mut start = space_end(bytes, 0);
    for step in path {
        start = match step {
            Step::Key(key) => member(json, start, key)?,
            Step::Index(index) => element(bytes, start, *index)?,
        };
    }
    json.get(start..value_end(bytes, start)?)
}

/// The text of the last element of the array that `json` is.
#[must_use]
pub fn last(json: &str) -> Option<&str> {
    let bytes = json.as_bytes();
    let mut start = first(bytes, space_end(bytes, 0), b'[', b']')?;
    loop {
        let end = value_end(bytes, start)?;
        match next(bytes, end)? {
            Some(next) => start = next,
            None => return json.get(start..end),
        }
    }
}

/// What a string without escapes says; none for any other value.
#[must_use]
pub fn plain(value: &str) -> Option<&str> {
    let text = value.strip_prefix('"')?.strip_suffix('"')?;
    (!text.contains('\\')).then_some(text)
}

/// A string without its quotes, any other value as it stands.
#[must_use]
pub fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(value)
}

/// Appends `text` as the inside of a JSON string.
pub fn push_escaped(out: &mut String, text: &str) {
    // Without a way out in the middle, so that many bytes are looked at at once.
    let is_special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    if !text.bytes().fold(false, |found, byte| found | is_special(byte)) {
        out.push_str(text);
    } else {
        out.push_str(unquoted(&serde_json::to_string(text).expect("a string is always JSON")));
    }
}

/// Puts `what` at the end of `path`, making what leads there.
pub fn put(value: &mut Value, path: &[Step], what: Value) {
    match path {
        [] => *value = what,
        [Step::Key(key), rest @ ..] => {
            if !value.is_object() {
                *value = Value::Object(serde_json::Map::new());
            }
            put(&mut value[key.as_str()], rest, what);
        }
        [Step::Index(index), rest @ ..] => {
            if !value.is_array() {
                *value = Value::Array(Vec::new());
            }
            let array = value.as_array_mut().expect("made just now");
            while array.len() <= *index {
                array.push(Value::Null);
            }
            put(&mut array[*index], rest, what);
        }
    }
}

/// Where the value of `key` begins in the object at `start`.
fn member(json: &str, start: usize, key: &str) -> Option<usize> {
    let bytes = json.as_bytes();
    let mut at = first(bytes, start, b'{', b'}')?;
    loop {
        let end = string_end(bytes, at)?;
        let found = &json[at + 1..end - 1] == key;
        let colon = space_end(bytes, end);
        if bytes.get(colon) != Some(&b':') {
            return None;
        }
        let value = space_end(bytes, colon + 1);
        if found {
            return Some(value);
        }
        at = next(bytes, value_end(bytes, value)?)??;
    }
}

/// Where the element at `index` begins in the array at `start`.
fn element(bytes: &[u8], start: usize, index: usize) -> Option<usize> {
    let mut at = first(bytes, start, b'[', b']')?;
    for _ in 0..index {
        at = next(bytes, value_end(bytes, at)?)??;
    }
    Some(at)
}

/// Where what is inside of the brackets at `start` begins; none if nothing is.
fn first(bytes: &[u8], start: usize, open: u8, close: u8) -> Option<usize> {
    if bytes.get(start) != Some(&open) {
        return None;
    }
    let inside = space_end(bytes, start + 1);
    (*bytes.get(inside)? != close).then_some(inside)
}

/// Behind a value that ends at `end`: where the next one begins, if there is one.
fn next(bytes: &[u8], end: usize) -> Option<Option<usize>> {
    let at = space_end(bytes, end);
    match bytes.get(at)? {
        b',' => Some(Some(space_end(bytes, at + 1))),
        b']' | b'}' => Some(None),
        _ => None,
    }
}

fn space_end(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// Behind the value that begins at `start`.
fn value_end(bytes: &[u8], start: usize) -> Option<usize> {
    match bytes.get(start)? {
        b'"' => string_end(bytes, start),
        b'{' | b'[' => nested_end(bytes, start),
        _ => {
            let is_over = |byte: &u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r');
            let len = bytes[start..].iter().position(is_over).unwrap_or(bytes.len() - start);
            (len > 0).then_some(start + len)
        }
    }
}

fn nested_end(bytes: &[u8], start: usize) -> Option<usize> {
    let (mut at, mut depth) = (start, 0_usize);
    loop {
        match bytes.get(at)? {
            b'"' => {
                at = string_end(bytes, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    if bytes.get(start) != Some(&b'"') {
        return None;
    }
    let mut at = start + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(json: &str, path: &str, expected: Option<&str>) {
        assert_eq!(at(json, &pointer(path).expect("a pointer")), expected, "{path} in {json}");
    }

    #[test]
    fn values_are_found() {
        let json = r#" { "a" : [ 1 , {"b":"x\"}"}, [] ] ,"c":null,"":{}} "#;
        check(json, "/a/0", Some("1"));
        check(json, "/a/1/b", Some(r#""x\"}""#));
        check(json, "/a/2", Some("[]"));
        check(json, "/c", Some("null"));
        check(json, "/", Some("{}"));
        check("true", "", Some("true"));
        for (json, path) in [(json, "/a/3"), (json, "/b"), ("[]", "/0"), ("{}", "/a"), ("[1", "/1"), ("", "")]
        {
            check(json, path, None);
        }
        assert_eq!(last(r#"["m",{"a":[1]}, "1-0" ]"#), Some(r#""1-0""#));
        assert_eq!(last("[]"), None);
        assert!(pointer("a").is_err());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-c\"\\\\{}\\[\\],:é ]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[a-d]", inner), 0..4)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_finds_what_serde_finds(json in any_json(), path in "(/[a-d0-3]){0,3}", pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&json) } else { serde_json::to_string(&json) };
            let text = text.expect("JSON");
            let found = at(&text, &pointer(&path).expect("a pointer")).map(|raw| serde_json::from_str(raw).expect("JSON"));
            prop_assert_eq!(found.as_ref(), json.pointer(&path));
        }

        #[test]
        fn garbage_is_no_reason_to_panic(text in any::<String>(), path in "(/[a-d0-3]){0,3}") {
            let _ = at(&text, &pointer(&path).expect("a pointer"));
            let _ = last(&text);
        }

        #[test]
        fn what_is_escaped_comes_back(text in any::<String>()) {
            let mut json = String::from("\"");
            push_escaped(&mut json, &text);
            json.push('"');
            prop_assert_eq!(serde_json::from_str::<String>(&json).expect("a string"), text);
        }
    }
}
