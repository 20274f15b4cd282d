//! The report as tests.

use ws_analysis::report::{Report, Verdict, junit};

use crate::{markup, sample};

fn check(report: &Report) -> String {
    let document = junit::render(report);
    let body = document.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n").expect("a declaration");
    let tags = markup::check(body, &[]);
    let count = |name: &str| tags.iter().filter(|tag| tag.split(' ').next() == Some(name)).count();
    let sums = format!(
        "tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\"",
        count("testcase"),
        count("failure"),
        count("error"),
        count("skipped")
    );
    assert_eq!(document.matches(&sums).count(), 2, "the suites say {sums}");
    let is_char = |c: char| matches!(c, '\n' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    assert!(document.chars().all(is_char), "what XML can't hold");
    document
}

#[test]
fn a_failing_run_as_tests() {
    assert_eq!(check(&sample::failing()), FAILING);
}

#[test]
fn a_pass_has_no_failure_and_no_error() {
    let document = check(&sample::passing());
    assert!(document.contains(r#"tests="9" failures="0" errors="0" skipped="1""#), "{document}");
}

#[test]
fn a_run_that_proves_nothing_is_an_error_and_not_skipped() {
    let reasons = vec!["nothing was sent, so nothing is proved".into(), "and <more>".into()];
    let report = Report { verdict: Verdict::Inconclusive, reasons, ..sample::passing() };
    let document = check(&report);
    assert!(document.contains(
        "name=\"verdict: whole run\">\n    <error type=\"error\" message=\"nothing was sent, so nothing is proved\">\n\
         nothing was sent, so nothing is proved\nand &lt;more&gt;\n    </error>"
    ));
}

#[test]
fn a_loss_that_the_contract_allows_is_no_failure() {
    let mut report = Report { verdict: Verdict::Pass, contract: "at-most-once".into(), ..sample::failing() };
    report.reasons.clear();
    report.properties = sample::passing().properties;
    report.causes.iter_mut().for_each(|cause| cause.allowed = true);
    let document = check(&report);
    assert!(document.contains(r#"failures="0""#), "{document}");
    assert!(
        document
            .contains("1,204 of the deliveries owed during cut-redis 1 never came; at-most-once allows it")
    );
    report.causes.clear();
    assert!(check(&report).contains(r#"failures="0""#), "also where no cause was found");
}

const FAILING: &str = r##"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="ws-verify" tests="15" failures="4" errors="0" skipped="2" time="63.360">
<testsuite name="ws-verify: native, redis-pubsub (redis-server 7.0.15)" tests="15" failures="4" errors="0" skipped="2" time="63.360">
  <properties>
    <property name="seed" value="3821864112"/>
    <property name="contract" value="no-silent-loss"/>
    <property name="version" value="0.1.0"/>
    <property name="os" value="Linux 6.8.0"/>
    <property name="cpus" value="8"/>
  </properties>
  <testcase classname="ws-verify" name="verdict: whole run">
    <failure type="failure" message="P3 no loss: 1,233 violations in 421,800 deliveries owed">
P3 no loss: 1,233 violations in 421,800 deliveries owed
all of it on its way to app-2: 1,204 during cut-redis 1, 37 during half-open 1
of 48,000 messages 12 were never answered: app-3&lt;script&gt;alert('3')&lt;/script&gt;&quot;&amp;|`]]&gt;[31m  ::error::x
    </failure>
  </testcase>
  <testcase classname="ws-verify" name="P1 no creation: whole run"/>
  <testcase classname="ws-verify" name="P2 no duplication: whole run"/>
  <testcase classname="ws-verify" name="P3 no loss: whole run">
    <failure type="failure" message="1,233 violations in 421,800 deliveries owed, under no-silent-loss">
room 7 #1392 from session 4 on app-1 to session 11 on app-2, at 14.02 s, during cut-redis 1: acked, never delivered to this member
    13.98 s  got room 7 #1391 from session 31
    14.00 s  fault cut-redis 1 on app-2
    14.02 s  room 7 #1392 sent by session 4 on app-1, acked 14.02 s
    14.03 s  room 7 #1392 reached 9 of 10 members, the first after 0.8 ms
    17.99 s  cut-redis 1 healed
    18.03 s  got room 7 #1517 from session 4
    62.11 s  fence of room 7 came; #1392 was never seen
room 7 #1393 from session 4 on app-1 to session 11 on app-2, at 14.04 s, during cut-redis 1: acked, never delivered to this member
    14.00 s  fault cut-redis 1 on app-2
    14.02 s  room 7 #1392 sent by session 4 on app-1, acked 14.02 s
room 7 #4120 from session 4 on app-1 to session 14 on app-2, at 43.10 s, during half-open 1: app-3&lt;script&gt;alert('3')&lt;/script&gt;&quot;&amp;|`]]&gt;[31m  ::error::x
    app-3&lt;script&gt;alert('3')&lt;/script&gt;&quot;&amp;|`]]&gt;[31m  ::error::x
    48.20 s  closed 1006
    </failure>
  </testcase>
  <testcase classname="ws-verify" name="P3 no loss: during kill-replica 1">
    <system-out>pid 4312 gone, its 100 connections reset</system-out>
  </testcase>
  <testcase classname="ws-verify" name="P3 no loss: during cut-redis 1">
    <failure type="failure" message="1,204 of the deliveries owed during cut-redis 1 never came">
1,204 of 1,241 missing, all to app-2, all during cut-redis 1, nobody was told
    </failure>
  </testcase>
  <testcase classname="ws-verify" name="P3 no loss: during slow-redis 1">
    <system-out>PING took 51.2 ms, 0.2 ms before</system-out>
  </testcase>
  <testcase classname="ws-verify" name="P3 no loss: during storm 1">
    <system-out>300 of 300 connections closed, 0 open</system-out>
  </testcase>
  <testcase classname="ws-verify" name="P3 no loss: during half-open 1">
    <failure type="failure" message="37 of the deliveries owed during half-open 1 never came">
29 of 1,241 missing, all from app-1 to app-2, all during half-open 1, nobody was told
8 of 1,241 missing, all to app-2, all during half-open 1, told by a gap notice (allowed)
    </failure>
  </testcase>
  <testcase classname="ws-verify" name="P3 no loss: during pause-redis 1">
    <skipped message="pause-redis 1 was not seen to take effect: SIGSTOP to pid 4300: no such process app-3&lt;script&gt;alert('3')&lt;/script&gt;&quot;&amp;|`]]&gt;[31m  ::error::x"/>
  </testcase>
  <testcase classname="ws-verify" name="P4 payload integrity: whole run"/>
  <testcase classname="ws-verify" name="P5 room isolation: whole run"/>
  <testcase classname="ws-verify" name="P6 FIFO per sender: whole run"/>
  <testcase classname="ws-verify" name="P9 echo: whole run"/>
  <testcase classname="ws-verify" name="P10 membership: whole run">
    <skipped message="nothing to check: no messages after a leave"/>
  </testcase>
</testsuite>
</testsuites>
"##;
