//! Files of results: the extension says which form.

use std::{ffi::OsStr, path::PathBuf, str::FromStr};

/// A file to write, and its form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputFile {
    /// Where.
    pub path: PathBuf,
    /// What.
    pub form: Form,
}

/// The forms of a report that are files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The whole document, ws-report/1.
    Json,
    /// The series.
    Csv,
    /// A page.
    Html,
    /// The histograms, as an HdrHistogram log.
    Hlog,
    /// JUnit XML.
    Junit,
    /// The summary for GitHub.
    Markdown,
    /// As on a terminal.
    Text,
}

impl Form {
    /// By their extensions.
    const ALL: [(&'static str, Self); 7] = [
        ("json", Self::Json),
        ("csv", Self::Csv),
        ("html", Self::Html),
        ("hlog", Self::Hlog),
        ("xml", Self::Junit),
        ("md", Self::Markdown),
        ("txt", Self::Text),
    ];
}

impl FromStr for OutputFile {
    type Err = String;

    /// A path; without an extension, as a pipe or a device has none, it gets JSON.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "-" {
            return Err("JSON on standard output is --output-format json".into());
        }
        let path = PathBuf::from(text);
        let form = match path.extension().map(OsStr::to_ascii_lowercase) {
            None => Some(Form::Json),
            Some(extension) => {
                Form::ALL.into_iter().find(|(name, _)| extension == *name).map(|(_, form)| form)
            }
        };
        match form {
            Some(form) => Ok(Self { path, form }),
            None => {
                let known = Form::ALL.map(|(name, _)| format!(".{name}")).join(", ");
                Err(format!("the extension says the form, and this is none of {known}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_says_the_form() {
        let form = |text: &str| text.parse::<OutputFile>().map(|file| file.form);
        assert_eq!(form("out/a.b.HTML"), Ok(Form::Html));
        assert_eq!(form("run.hlog"), Ok(Form::Hlog));
        assert_eq!(form("/dev/stderr"), Ok(Form::Json));
        let error = form("report.pdf").expect_err("no form");
        assert!(error.contains(".json, .csv, .html, .hlog, .xml, .md, .txt"), "{error}");
        assert!(form("-").expect_err("no file").contains("--output-format json"));
    }
}
