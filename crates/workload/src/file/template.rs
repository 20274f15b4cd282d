//! A scenario to begin with.

/// It runs as it is; every other key is there as a comment.
pub const TEMPLATE: &str = include_str!("template.toml");

#[cfg(test)]
mod tests {
    use super::TEMPLATE;
    use crate::file::{parse, schema};

    /// Without comment signs before settings, and without the settings of `but`.
    fn uncommented(but: &[&str]) -> String {
        let is_setting = |bare: &str| bare.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
        let kept = |line: &&str| {
            let (key, _) = line.trim_start_matches("# ").split_once(" = ").unwrap_or_default();
            !but.contains(&key)
        };
        let bare =
            |line: &'static str| line.strip_prefix("# ").filter(|bare| is_setting(bare)).unwrap_or(line);
        TEMPLATE.lines().filter(kept).map(bare).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn it_is_read_as_it_is_and_with_all_that_is_commented_out() {
        parse(TEMPLATE, "template").unwrap_or_else(|error| panic!("{error}"));
        // Each of two ways to say it.
        for but in [&["rooms", "rate_per_client"][..], &["room_size", "rate", "stages"]] {
            let text = uncommented(but);
            let file = parse(&text, "template").unwrap_or_else(|error| panic!("{error} in\n{text}"));
            assert!(file.load.lifetime.is_some() && !file.faults.is_empty());
        }
    }

    #[test]
    fn it_shows_every_key() {
        let schema: serde_json::Value = serde_json::from_str(&schema()).expect("JSON");
        for table in ["cluster", "protocol", "load", "check"] {
            assert!(TEMPLATE.contains(&format!("[{table}]")), "{table}");
            for key in schema["properties"][table]["properties"].as_object().expect("a table").keys() {
                assert!(
                    TEMPLATE
                        .lines()
                        .any(|line| line.trim_start_matches("# ").starts_with(&format!("{key} = "))),
                    "{key}"
                );
            }
        }
    }
}
