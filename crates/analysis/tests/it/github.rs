//! The report for GitHub Actions.

use ws_analysis::report::{Report, Verdict, github};

use crate::sample;

#[test]
fn a_failing_run_as_annotations() {
    assert_eq!(github::annotations(&sample::failing()), ANNOTATIONS);
}

#[test]
fn what_servers_say_is_no_command() {
    let mut report = sample::failing();
    report.tool = "a\n::stop-commands::x".into();
    report.properties[2].name = "50%, a:b\r\n::set-env name=x::y".into();
    let text = github::annotations(&report);
    for line in text.lines() {
        assert!(
            ["::error title=", "::warning title=", "::notice title="].iter().any(|it| line.starts_with(it)),
            "{line}"
        );
    }
    assert!(text.contains("::error title=P3 50%25%2C a%3Ab  %3A%3Aset-env name=x%3A%3Ay::"), "{text}");
    assert!(!text.contains('\r') && !text.contains('\x1b'));
}

#[test]
fn levels_follow_the_verdict() {
    assert_eq!(
        github::annotations(&sample::passing()),
        "::notice title=ws-verify%3A pass::48,000 sent, 479,988 expected, 479,988 delivered, 0 lost, 0 twice; \
         exactly-once\n"
    );
    let reasons = vec!["nothing was sent".into(), "app-1 ended".into()];
    let report = Report { verdict: Verdict::Inconclusive, reasons, ..sample::passing() };
    assert_eq!(
        github::annotations(&report),
        "::warning title=ws-verify%3A inconclusive::nothing was sent%0Aapp-1 ended\n"
    );
}

#[test]
fn a_failing_run_as_a_summary() {
    assert_eq!(github::summary(&sample::failing()), SUMMARY);
}

#[test]
fn a_summary_without_faults_has_no_empty_tables() {
    let text = github::summary(&sample::passing());
    let headings: Vec<_> = text.lines().filter(|line| line.starts_with('#')).collect();
    assert_eq!(headings, ["## ws-verify: \u{2705} pass", "### Properties"]);
}

const ANNOTATIONS: &str = r##"::error title=ws-verify%3A fail::P3 no loss: 1,233 violations in 421,800 deliveries owed%0Aall of it on its way to app-2: 1,204 during cut-redis 1, 37 during half-open 1%0Aof 48,000 messages 12 were never answered: app-3<script>alert('3')</script>"&|`]]>�[31m�  ::error::x
::error title=P3 no loss::1,233 violations in 421,800 deliveries owed%0A1,204 of 1,241 missing, all to app-2, all during cut-redis 1, nobody was told%0A29 of 1,241 missing, all from app-1 to app-2, all during half-open 1, nobody was told%0Aroom 7 #1392 from session 4 on app-1 to session 11 on app-2, at 14.02 s, during cut-redis 1: acked, never delivered to this member
::warning title=pause-redis 1%3A no proof of the fault::SIGSTOP to pid 4300: no such process app-3<script>alert('3')</script>"&|`]]>�[31m�  ::error::x
::notice title=missing%2C and allowed by no-silent-loss::8 of 1,241 missing, all to app-2, all during half-open 1, told by a gap notice
"##;

const SUMMARY: &str = r##"## ws-verify: ❌ fail

- P3 no loss: 1,233 violations in 421,800 deliveries owed
- all of it on its way to app-2: 1,204 during cut-redis 1, 37 during half-open 1
- of 48,000 messages 12 were never answered: app-3&lt;script&gt;alert('3')&lt;/script&gt;"&amp;\|\`\]\]&gt;�\[31m�  ::error::x

48,000 sent, 479,988 expected, 478,747 delivered, 1,241 lost, 0 twice; no-silent-loss, p99 7.42 ms, seed 3821864112

### What was missing, by cause

| lost | cause | |
|---:|---|---|
| 1,204 | 1,204 of 1,241 missing, all to app-2, all during cut-redis 1, nobody was told | **violation** |
| 29 | 29 of 1,241 missing, all from app-1 to app-2, all during half-open 1, nobody was told | **violation** |
| 8 | 8 of 1,241 missing, all to app-2, all during half-open 1, told by a gap notice | allowed |

### Properties

| | | property | violations | checked | |
|---|---|---|---:|---:|---|
| ✅ ok | P1 | no creation | 0 | 481,204 | deliveries |
| ✅ ok | P2 | no duplication | 0 | 481,204 | deliveries |
| ❌ **broken** | P3 | no loss | 1,233 | 421,800 | deliveries owed |
| ✅ ok | P4 | payload integrity | 0 | 481,204 | deliveries |
| ✅ ok | P5 | room isolation | 0 | 481,204 | deliveries |
| ✅ ok | P6 | FIFO per sender | 0 | 472,100 | deliveries with a predecessor |
| ✅ ok | P9 | echo | 0 | 48,000 | own copies owed |
| ➖ not checked | P10 | membership | 0 | 0 | messages after a leave |

### Not whole, from replica to replica

| from | to | delivered | missing |
|---|---|---:|---:|
| app-1 | app-2 | 99.22% | 415 |
| app-2 | app-2 | 99.22% | 413 |
| app-3&lt;script&gt;alert('3')&lt;/script&gt;"&amp;\|\`\]\]&gt;�\[31m�  ::error::x | app-2 | 99.22% | 413 |

### Faults

| fault | on | at | effective after | healed after | lost | proof |
|---|---|---:|---:|---:|---:|---|
| kill-replica 1 | app-1 | 5.00 s | 1.57 ms | 3.41 s | 0 | pid 4312 gone, its 100 connections reset |
| cut-redis 1 | app-2 | 14.00 s | 2.69 ms | 4.02 s | 1,204 | 2 connections reset, INFO clients fell from 7 to 5 |
| slow-redis 1 | app-1, app-2, app-3&lt;script&gt;alert('3')&lt;/script&gt;"&amp;\|\`\]\]&gt;�\[31m�  ::error::x | 24.00 s | 51 ms | 5.00 s | 0 | PING took 51.2 ms, 0.2 ms before |
| storm 1 | 300 clients | 34.00 s | 8.92 ms | 2.00 s | 0 | 300 of 300 connections closed, 0 open |
| half-open 1 | 60 clients | 43.00 s | 700 ms | 6.00 s | 37 | 60 connections hold 118,204 bytes unread |
| pause-redis 1 | redis | 56.00 s | ⚠️ not seen | still on at the end | 0 | SIGSTOP to pid 4300: no such process app-3&lt;script&gt;alert('3')&lt;/script&gt;"&amp;\|\`\]\]&gt;�\[31m�  ::error::x |

"##;
