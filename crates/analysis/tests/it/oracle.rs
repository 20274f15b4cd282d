//! A checker so plain that it can be seen to be right must agree on every small history.

use std::collections::BTreeMap;

use proptest::prelude::*;
use ws_analysis::property::Property;

use crate::world::{Ev, World, broken};

const MEMBERS: u32 = 4;

/// Who sent what, with which answer, and what each member got, in order.
#[derive(Clone, Debug)]
struct History {
    senders: Vec<u32>,
    answers: Vec<Answer>,
    got: Vec<Vec<usize>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Ok,
    Fail,
    Info,
}

fn any_history() -> impl Strategy<Value = History> {
    let answer = prop_oneof![4 => Just(Answer::Ok), 1 => Just(Answer::Fail), 1 => Just(Answer::Info)];
    (1..12_usize).prop_flat_map(move |messages| {
        let got = prop::collection::vec(0..messages, 0..20);
        (
            prop::collection::vec(0..MEMBERS, messages),
            prop::collection::vec(answer.clone(), messages),
            prop::collection::vec(prop_oneof![got, Just((0..messages).collect())], MEMBERS as usize),
        )
            .prop_map(|(senders, answers, got)| History { senders, answers, got })
    })
}

impl History {
    fn events(&self) -> Vec<Ev> {
        let mut events: Vec<Ev> = self.senders.iter().map(|&sender| Ev::Send(sender)).collect();
        for (message, answer) in self.answers.iter().enumerate() {
            match answer {
                Answer::Ok => events.push(Ev::Ack(message)),
                Answer::Fail => events.push(Ev::Refuse(message)),
                Answer::Info => {}
            }
        }
        for (member, got) in (0..).zip(&self.got) {
            events.extend(got.iter().map(|&message| Ev::Deliver(member, message)));
        }
        events
    }

    /// By the definitions, without any cleverness.
    fn oracle(&self) -> BTreeMap<Property, u64> {
        let mut broken = BTreeMap::new();
        let mut add = |property| *broken.entry(property).or_default() += 1;
        for (member, got) in (0..).zip(&self.got) {
            for (message, &sender) in self.senders.iter().enumerate() {
                let own = sender == member;
                let copies = got.iter().filter(|&&one| one == message).count();
                for _ in 1..copies {
                    add(if own { Property::Echo } else { Property::Duplication });
                }
                let alone = self.got.iter().filter(|got| !got.contains(&message)).count() == 1;
                let somebody = self.got.iter().any(|got| got.contains(&message));
                match self.answers[message] {
                    Answer::Fail if copies > 0 => add(Property::Creation),
                    Answer::Ok if copies == 0 => {
                        add(if own && alone { Property::Echo } else { Property::Loss })
                    }
                    Answer::Info if copies == 0 && somebody => {
                        add(if own && alone { Property::Echo } else { Property::Loss })
                    }
                    _ => {}
                }
                let first = |message| got.iter().position(|&one| one == message);
                let later = (message + 1..self.senders.len()).filter(|&later| self.senders[later] == sender);
                if let Some(at) = first(message)
                    && later.filter_map(first).any(|later| later < at)
                {
                    add(Property::Fifo);
                }
            }
        }
        broken
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn the_ledger_agrees_with_the_oracle(history in any_history()) {
        let findings = World::new(MEMBERS).play(&history.events());
        prop_assert_eq!(broken(&findings), history.oracle());
        prop_assert!(findings.sums_agree, "{:?}", findings.counts);
    }
}
