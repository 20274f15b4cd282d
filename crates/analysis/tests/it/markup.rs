//! Enough of a parser to say that a document's tags are closed in order.

/// The tags as `name attributes`, in their order. Panics where one is not closed, or where text holds a bare `<` or `>`.
pub(crate) fn check(document: &str, void: &[&str]) -> Vec<String> {
    let mut open: Vec<&str> = Vec::new();
    let mut tags = Vec::new();
    let mut rest = document;
    while let Some((text, after)) = rest.split_once('<') {
        assert!(!text.contains('>') || open.last() == Some(&"style"), "a bare > in {text:?}");
        let (tag, after) = after.split_once('>').expect("a tag has an end");
        assert_eq!(tag.matches('"').count() % 2, 0, "an attribute without its end in {tag:?}");
        rest = after;
        let name = tag.split([' ', '/']).next().unwrap_or_default();
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "</{name}> closes another");
        } else if !tag.ends_with('/') && !tag.starts_with(['!', '?']) && !void.contains(&name) {
            open.push(name);
        }
        tags.push(tag.to_owned());
    }
    assert!(open.is_empty() && !rest.contains('>'), "not closed: {open:?}");
    tags
}
