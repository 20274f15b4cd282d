//! The report as JUnit XML: what build servers show as tests.
//!
//! A test case is a property over the whole run, P3 also over each fault; the first one is the verdict itself. A violation is
//! a failure; a run that proves nothing is an error, and not skipped: skipped tests are green.

use std::fmt::{self, Display, Write as _};

use super::{
    Cause, Example, FaultResult, PropertyResult, Report, Verdict,
    words::{count, grouped, violation, visible},
};
use crate::property::Property;

/// The document.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    write(report, &mut text).expect("a string takes everything");
    text
}

fn write(report: &Report, out: &mut String) -> fmt::Result {
    let cases = cases(report);
    let of = |kind: &str| cases.iter().filter(|case| case.result.kind() == kind).count();
    let sums = format!(
        "tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3}\"",
        cases.len(),
        of("failure"),
        of("error"),
        of("skipped"),
        report.phases.connect_s + report.phases.join_s + report.phases.send_s + report.phases.drain_s
    );
    let tool = escaped(&report.tool);
    writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    writeln!(out, "<testsuites name=\"{tool}\" {sums}>")?;
    writeln!(out, "<testsuite name=\"{tool}: {}\" {sums}>", escaped(&report.target.summary()))?;
    writeln!(out, "  <properties>")?;
    for (name, value) in [
        ("seed", report.seed.to_string().as_str()),
        ("contract", &report.contract),
        ("version", &report.version),
        ("os", &report.environment.os),
        ("cpus", report.environment.cpus.to_string().as_str()),
    ] {
        writeln!(out, "    <property name=\"{name}\" value=\"{}\"/>", escaped(value))?;
    }
    writeln!(out, "  </properties>")?;
    cases.iter().try_for_each(|case| case.write(&tool, out))?;
    writeln!(out, "</testsuite>\n</testsuites>")
}

fn cases(report: &Report) -> Vec<Case> {
    let mut cases = vec![Case { name: "verdict: whole run".into(), result: verdict(report) }];
    for property in &report.properties {
        let name = |phase: &str| format!("{} {}: {phase}", property.id, property.name);
        cases.push(Case { name: name("whole run"), result: whole_run(property, &report.contract) });
        if property.id == Property::Loss.id() {
            let during = |fault: &FaultResult| Case {
                name: name(&format!("during {}", fault.name)),
                result: during(report, property, fault),
            };
            cases.extend(report.faults.iter().map(during));
        }
    }
    cases
}

fn verdict(report: &Report) -> Result {
    let first = report.reasons.first().cloned();
    let reasons = report.reasons.clone();
    match report.verdict {
        Verdict::Pass => Result::Passed(None),
        Verdict::Fail => Result::Failure(first.unwrap_or_else(|| "fail".into()), reasons),
        Verdict::Inconclusive => Result::Error(first.unwrap_or_else(|| "inconclusive".into()), reasons),
    }
}

fn whole_run(property: &PropertyResult, contract: &str) -> Result {
    let PropertyResult { checked, unit, violations, examples, .. } = property;
    match property.verdict {
        Verdict::Pass => Result::Passed(None),
        Verdict::Inconclusive => Result::Skipped(format!("nothing to check: no {unit}")),
        Verdict::Fail => Result::Failure(
            format!("{} in {} {unit}, under {contract}", count(*violations, "violation"), grouped(*checked)),
            examples.iter().flat_map(example).collect(),
        ),
    }
}

/// What was lost while a fault was on, unless the contract allows all of it.
fn during(report: &Report, property: &PropertyResult, fault: &FaultResult) -> Result {
    let FaultResult { name, lost, effective_us, error, proof, .. } = fault;
    let missing = format!("{} of the deliveries owed during {name} never came", grouped(*lost));
    let causes: Vec<_> = report.causes.iter().filter(|cause| cause.fault.as_ref() == Some(name)).collect();
    let is_allowed = match causes.as_slice() {
        [] => property.verdict != Verdict::Fail,
        causes => causes.iter().all(|cause| cause.allowed),
    };
    let said = |cause: &&Cause| format!("{}{}", cause.said, if cause.allowed { " (allowed)" } else { "" });
    match lost {
        0 if effective_us.is_none() => {
            let why = error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
            Result::Skipped(format!("{name} was not seen to take effect{why}"))
        }
        0 => Result::Passed(proof.clone()),
        _ if is_allowed => Result::Passed(Some(format!("{missing}; {} allows it", report.contract))),
        _ => Result::Failure(missing, causes.iter().map(said).collect()),
    }
}

/// The violation, and under it what happened around it.
fn example(example: &Example) -> Vec<String> {
    let witness = example.witness.iter().map(|line| format!("    {line}"));
    std::iter::once(violation(example)).chain(witness).collect()
}

struct Case {
    name: String,
    result: Result,
}

/// A message, and the lines below it.
enum Result {
    Passed(Option<String>),
    Failure(String, Vec<String>),
    Error(String, Vec<String>),
    Skipped(String),
}

impl Result {
    fn kind(&self) -> &'static str {
        match self {
            Self::Passed(_) => "",
            Self::Failure(..) => "failure",
            Self::Error(..) => "error",
            Self::Skipped(_) => "skipped",
        }
    }
}

impl Case {
    fn write(&self, class: &Escaped, out: &mut String) -> fmt::Result {
        let kind = self.result.kind();
        write!(out, "  <testcase classname=\"{class}\" name=\"{}\"", escaped(&self.name))?;
        match &self.result {
            Result::Passed(None) => return writeln!(out, "/>"),
            Result::Passed(Some(said)) => writeln!(out, ">\n    <system-out>{}</system-out>", escaped(said))?,
            Result::Skipped(why) => writeln!(out, ">\n    <skipped message=\"{}\"/>", escaped(why))?,
            Result::Failure(message, lines) | Result::Error(message, lines) => {
                write!(out, ">\n    <{kind} type=\"{kind}\" message=\"{}\">", escaped(message))?;
                lines.iter().try_for_each(|line| write!(out, "\n{}", escaped(line)))?;
                writeln!(out, "\n    </{kind}>")?;
            }
        }
        writeln!(out, "  </testcase>")
    }
}

/// `text` on one line, without what XML 1.0 can't hold at all (section 2.2, `Char`).
fn escaped(text: &str) -> Escaped<'_> {
    Escaped(text)
}

struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match visible(c) {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\u{fffd}' => Ok(()),
            c => f.write_char(c),
        })
    }
}
