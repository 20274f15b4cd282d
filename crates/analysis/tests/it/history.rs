//! Whoever replays a history comes to the same judgement as the run.

use proptest::prelude::*;
use ws_analysis::{
    history::{self, Footer},
    judge::{self, Findings},
    timeline::{Timeline, Window},
    verdict::Facts,
};

use crate::world::{Ev, Field, World};

fn any_event() -> impl Strategy<Value = Ev> {
    let (session, message) = (0..6_u32, 0..6_usize);
    prop_oneof![
        4 => (0..6_u32).prop_map(Ev::Send),
        2 => (0..6_u32).prop_map(Ev::SendAll),
        4 => message.clone().prop_map(Ev::Ack),
        1 => message.clone().prop_map(Ev::Refuse),
        9 => (session.clone(), message.clone()).prop_map(|(s, m)| Ev::Deliver(s, m)),
        2 => (session.clone(), message.clone(), 0..9_u64).prop_map(|(s, m, at)| Ev::DeliverAt(s, m, at)),
        1 => (session.clone(), message.clone(), 0..9_u64).prop_map(|(s, m, at)| Ev::DeliverIn(s, m, "f", at)),
        1 => (session.clone(), message.clone()).prop_map(|(s, m)| Ev::Forge(s, m, Field::Kind)),
        1 => (session.clone(), prop_oneof![Just("hello"), Just("ws1")]).prop_map(|(s, t)| Ev::DeliverText(s, t)),
        1 => session.clone().prop_map(Ev::Fence),
        1 => session.clone().prop_map(Ev::FenceAll),
        1 => (session.clone(), message.clone()).prop_map(|(s, m)| Ev::DeliverDamaged(s, m)),
        1 => (session.clone(), message).prop_map(|(s, m)| Ev::DeliverAs(s, m, "room-1")),
        1 => session.clone().prop_map(Ev::Leave),
        1 => session.clone().prop_map(Ev::Left),
        1 => session.clone().prop_map(Ev::End),
        1 => (session.clone(), prop::option::of(any::<bool>())).prop_map(|(s, r)| Ev::Back(s, r)),
        1 => session.clone().prop_map(Ev::Gap),
        1 => session.clone().prop_map(Ev::GapAll),
        1 => session.prop_map(Ev::Invent),
        1 => (1..3000_u64).prop_map(Ev::Wait),
        1 => Just(Ev::Skip),
    ]
}

fn said(findings: &Findings) -> String {
    let Findings { counts, properties, phases, causes, lost_by_second, lost_between_us, .. } = findings;
    format!("{counts:?} {properties:?} {phases:?} {causes:?} {lost_by_second:?} {lost_between_us:?}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn a_replay_is_judged_alike(events in prop::collection::vec(any_event(), 0..60)) {
        let mut world = World::new(3).recorded();
        // Messages must have been sent before anything can happen to them.
        (0..6).for_each(|session| world.step(Ev::Send(session)));
        events.into_iter().for_each(|event| world.step(event));
        let text = world.history();
        let (ledgers, footer) = history::replay(text.lines()).expect("its own words");
        prop_assert!(footer.is_none());
        prop_assert_eq!(said(&judge::judge(ledgers, &Timeline::default())), said(&world.judged()));
    }
}

#[test]
fn what_is_no_history_is_refused_by_its_line() {
    let good = World::new(3).recorded().history();
    let header = good.lines().next().expect("a header");
    let check = |text: String, why: &str| {
        let error = history::replay(text.lines()).expect_err(why).to_string();
        assert!(error.contains(why), "{error}");
    };
    check(String::new(), "it is empty");
    check("{}".into(), "line 1 is no header");
    check(header.replace("ws-history/1", "ws-history/9"), "this version reads ws-history/1");
    check(format!("{header}\nnonsense"), "line 2:");
    check(format!("{header}\n{{\"w\":7,\"e\":\"left\",\"session\":0}}"), "line 2: there is no worker 7");
    check(format!("{header}\n{{\"w\":0,\"e\":\"left\",\"session\":99}}"), "line 2: there is no session 99");
    check(format!("{header}\n{{\"w\":0,\"e\":\"left\",\"session\":6}}"), "line 2: there is no session 6");
    let kind = |kind| {
        format!(
            "{header}\n{{\"w\":0,\"e\":\"send\",\"session\":5,\"all\":true,\"kind\":{kind},\"due_us\":0,\"now_us\":0}}"
        )
    };
    check(kind(3), "line 2: there is no kind 3");
    assert!((0..3).all(|known| history::replay(kind(known).lines()).is_ok()));
    check("{\"history\":\"ws-history/1\",\"setups\":[]}".into(), "names no worker");
    check(format!("{header}\n{{\"w\":0,\"e\":\"fly\",\"session\":0}}"), "line 2:");
}

#[test]
fn the_last_line_is_the_footer() {
    let footer = Footer {
        timeline: Timeline {
            faults: vec![Window { start_us: 1, end_us: 2 }],
            settle_us: 3,
            stopped_us: None,
            apart_us: 4,
        },
        facts: Facts { connections: 6, ..Facts::default() },
        report: "as it was".into(),
    };
    let mut world = World::new(3).recorded().then(&[Ev::Send(0)]);
    let text = format!("{}{}", world.history(), serde_json::to_string(&footer).expect("JSON"));
    let (ledgers, read) = history::replay(text.lines()).expect("a history");
    let read = read.expect("a footer");
    assert_eq!((read.timeline, read.facts.connections, read.report), (footer.timeline, 6, footer.report));
    assert_eq!(judge::judge(ledgers, &Timeline::default()).counts.sent, 1);
}
