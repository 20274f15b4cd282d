//! Workers in other processes, each with a part of the run, led over a line. One that is lost leaves a gap.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{interval, timeout},
};
use tokio_util::sync::CancellationToken;
use ws_wire::message::Hello;

use super::Home;
use crate::{
    coordinator::{Means, SwarmError},
    hands::{Command, Reach},
    line::{Facts, FromMember, Job, Line, SILENCE, TICK, ToMember},
    monitor::Monitor,
    plan::Plan,
    worker::{Harvest, Order},
};

/// All members, as whoever leads them sees them.
pub(crate) struct Members {
    members: Vec<Member>,
    events: mpsc::Receiver<(usize, Event)>,
    nodes: Vec<(Hello, String)>,
    harvests: Vec<Harvest>,
    lost: Vec<Lost>,
    /// What goes on beside: it ends with us.
    _tasks: JoinSet<()>,
}

/// A member that took part.
#[derive(Clone, Debug)]
pub struct MemberFacts {
    /// Who it is.
    pub name: String,
    /// Its sockets, as planned.
    pub connections: u32,
    /// How wrong its clock may be against that of whoever leads, in microseconds.
    pub clock_error_us: u64,
}

/// A member that was lost, with all that its sockets sent and received.
#[derive(Clone, Debug)]
pub struct Lost {
    /// Who it was.
    pub name: String,
    /// Its sockets.
    pub connections: u32,
    /// How it was noticed.
    pub why: String,
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, connections, why } = self;
        write!(f, "{name} was lost with its {connections} sockets ({why})")
    }
}

struct Member {
    facts: MemberFacts,
    to: mpsc::Sender<Vec<u8>>,
    is_lost: bool,
}

enum Event {
    Report { replicas: u64, nodes: Vec<(Hello, String)> },
    Harvest(Box<Harvest>),
    Done { drift_us: u64 },
    Lost(String),
}

/// Questions to workers that were not answered yet, by member and number.
#[derive(Default)]
struct Asked {
    open: HashMap<(usize, u64), oneshot::Sender<u64>>,
    /// Who will not answer any more.
    gone: HashSet<usize>,
}

impl Asked {
    /// Whoever waits for an answer of this member waits no longer, and nobody will.
    fn lose(&mut self, member: usize) {
        self.gone.insert(member);
        self.open.retain(|(asked, _), _| *asked != member);
    }
}

impl Members {
    /// Shares the workers of `plan` out over `lines`, in their order, and lets all of them begin.
    ///
    /// # Errors
    /// One is not ready, or its part of the sockets does not fit.
    pub(crate) async fn start(plan: &Plan, lines: Vec<Line>, means: Means) -> Result<Self, SwarmError> {
        let (event, events) = mpsc::channel(lines.len() * 4);
        let mut tasks = JoinSet::new();
        let asked = Arc::new(Mutex::new(Asked::default()));
        let (mut members, mut listeners) = (Vec::new(), Vec::new());
        let shares = shares(plan.workers, lines.len());
        for (mut line, workers) in lines.into_iter().zip(&shares) {
            let name = format!("member {} of {}", members.len() + 1, shares.len());
            let lost = |why: String| SwarmError::Member { name: name.clone(), why };
            let facts = match Line::hear(&mut line.from).await {
                Ok(FromMember::Ready(facts)) => facts,
                Ok(FromMember::Failed(why)) | Err(why) => return Err(lost(why)),
                Ok(_) => return Err(lost("it did not say that it is ready".into())),
            };
            let connections = connections(plan, workers);
            fits(&facts, connections).map_err(lost)?;
            members.push(Member {
                facts: MemberFacts {
                    name: facts.name,
                    connections,
                    clock_error_us: facts.clock_error_us + line.clock.borrow().error_us,
                },
                to: line.to.clone(),
                is_lost: false,
            });
            listeners.push(line);
        }
        for (index, (line, workers)) in listeners.into_iter().zip(&shares).enumerate() {
            let job = Job::new(plan, workers.clone(), &line.clock.borrow(), means.history.is_some());
            Line::say(&line.to, &ToMember::Begin(Box::new(job))).await;
            let listener = Listener {
                index,
                monitor: means.monitor.clone(),
                history: means.history.clone(),
                asked: asked.clone(),
                event: event.clone(),
            };
            tasks.spawn(listener.listen(line.from));
            tasks.spawn(keep_alive(line.to, means.stop.clone(), index, asked.clone()));
        }
        let Reach(hands) = means.reach;
        let number = Arc::new(AtomicU64::new(0));
        for (worker, commands) in (0..).zip(hands) {
            let member = shares.iter().position(|share| share.contains(&worker)).expect("all are shared out");
            let to = members[member].to.clone();
            tasks.spawn(hand_on((worker, member), commands, to, asked.clone(), number.clone()));
        }
        Ok(Self { members, events, nodes: Vec::new(), harvests: Vec::new(), lost: Vec::new(), _tasks: tasks })
    }

    /// Gives an order and waits for all reports.
    pub(crate) async fn order(&mut self, order: Order) -> u64 {
        self.tell(order).await;
        self.report().await
    }

    /// Waits for one report of each member that is there.
    pub(crate) async fn report(&mut self) -> u64 {
        let mut open = 0;
        let mut awaited: Vec<bool> = self.members.iter().map(|member| !member.is_lost).collect();
        while awaited.contains(&true) {
            let Some((index, event)) = self.events.recv().await else { break };
            match event {
                Event::Report { replicas, nodes } => {
                    open |= replicas;
                    awaited[index] = false;
                    let known = |name: &str| self.nodes.iter().any(|(hello, _)| hello.node == name);
                    let new: Vec<_> = nodes.into_iter().filter(|(hello, _)| !known(&hello.node)).collect();
                    self.nodes.extend(new);
                }
                Event::Lost(why) => {
                    self.lose(index, why);
                    awaited[index] = false;
                }
                Event::Harvest(_) | Event::Done { .. } => {}
            }
        }
        open
    }

    pub(crate) fn nodes(&self) -> Vec<(Hello, String)> {
        self.nodes.clone()
    }

    /// The last order; brings everything home.
    pub(crate) async fn part(mut self) -> Home {
        self.tell(Order::Part).await;
        let mut awaited: Vec<bool> = self.members.iter().map(|member| !member.is_lost).collect();
        while awaited.contains(&true) {
            let Some((index, event)) = self.events.recv().await else { break };
            match event {
                Event::Harvest(harvest) => self.harvests.push(*harvest),
                Event::Done { drift_us } => {
                    self.members[index].facts.clock_error_us += drift_us;
                    awaited[index] = false;
                }
                Event::Lost(why) => {
                    self.lose(index, why);
                    awaited[index] = false;
                }
                Event::Report { .. } => {}
            }
        }
        self.harvests.sort_by_key(|harvest| harvest.ledger.setup().worker);
        let members = self.members.into_iter().map(|member| member.facts).collect();
        Home { harvests: self.harvests, members, lost: self.lost }
    }

    async fn tell(&self, order: Order) {
        let order = ToMember::Order(order);
        for member in self.members.iter().filter(|member| !member.is_lost) {
            // One that takes nothing any more is lost, which its listener will notice.
            let _ = timeout(SILENCE, Line::say(&member.to, &order)).await;
        }
    }

    fn lose(&mut self, index: usize, why: String) {
        let member = &mut self.members[index];
        member.is_lost = true;
        let MemberFacts { name, connections, .. } = member.facts.clone();
        self.lost.push(Lost { name, connections, why });
    }
}

/// Hears what one member says.
struct Listener {
    index: usize,
    monitor: Arc<Monitor>,
    history: Option<std::sync::mpsc::SyncSender<Vec<u8>>>,
    asked: Arc<Mutex<Asked>>,
    event: mpsc::Sender<(usize, Event)>,
}

impl Listener {
    async fn listen(self, mut from: mpsc::Receiver<Vec<u8>>) {
        loop {
            let event = match Line::hear(&mut from).await {
                Ok(FromMember::Tick { seen, pulses, used }) => {
                    pulses.into_iter().for_each(|(worker, pulse)| self.monitor.publish(worker, pulse));
                    seen.iter().for_each(|(worker, seen)| self.monitor.write_one(*worker, seen));
                    self.monitor.member_used(self.index, used);
                    continue;
                }
                Ok(FromMember::Answer { number, count }) => {
                    let mut asked = self.asked.lock().expect("nothing panics while it is held");
                    asked.open.remove(&(self.index, number)).map(|asked| asked.send(count));
                    continue;
                }
                Ok(FromMember::Journal(lines)) => {
                    // An error: the writer has said why.
                    let _ = self.history.as_ref().map(|history| history.send(lines));
                    continue;
                }
                Ok(FromMember::Ready(_)) => continue,
                Ok(FromMember::Report { replicas, nodes }) => Event::Report { replicas, nodes },
                Ok(FromMember::Harvest(harvest)) => Event::Harvest(harvest),
                Ok(FromMember::Done { drift_us }) => Event::Done { drift_us },
                Ok(FromMember::Failed(why)) | Err(why) => Event::Lost(why),
            };
            let is_last = matches!(event, Event::Done { .. } | Event::Lost(_));
            if is_last {
                self.asked.lock().expect("nothing panics while it is held").lose(self.index);
            }
            if self.event.send((self.index, event)).await.is_err() || is_last {
                return;
            }
        }
    }
}

/// Says that we are there, and when the run is to end early.
async fn keep_alive(
    to: mpsc::Sender<Vec<u8>>,
    stop: CancellationToken,
    member: usize,
    asked: Arc<Mutex<Asked>>,
) {
    let mut ticks = interval(TICK);
    let mut has_told = false;
    let is_gone = || asked.lock().expect("nothing panics while it is held").gone.contains(&member);
    while !is_gone() {
        tokio::select! {
            _ = ticks.tick() => Line::say(&to, &ToMember::Alive).await,
            () = stop.cancelled(), if !has_told => {
                has_told = true;
                Line::say(&to, &ToMember::Stop).await;
            }
        }
    }
}

/// Hands commands for one worker of a member on, and the answers back; one that is lost answers nothing.
async fn hand_on(
    (worker, member): (u32, usize),
    mut commands: mpsc::Receiver<Command>,
    to: mpsc::Sender<Vec<u8>>,
    asked: Arc<Mutex<Asked>>,
    next: Arc<AtomicU64>,
) {
    while let Some(Command { what, done }) = commands.recv().await {
        let number = next.fetch_add(1, Relaxed);
        {
            let mut asked = asked.lock().expect("nothing panics while it is held");
            if asked.gone.contains(&member) {
                continue;
            }
            asked.open.insert((member, number), done);
        }
        Line::say(&to, &ToMember::Hand { number, worker, what }).await;
    }
}

/// Which workers each of so many members has.
fn shares(workers: u32, members: usize) -> Vec<Range<u32>> {
    let members = u32::try_from(members).expect("members are few");
    (0..members).map(|member| member * workers / members..(member + 1) * workers / members).collect()
}

fn connections(plan: &Plan, workers: &Range<u32>) -> u32 {
    let topology = plan.topology();
    let rooms = workers.clone().flat_map(|worker| topology.rooms_of(worker));
    rooms.map(|room| topology.members(room).len()).sum::<usize>().try_into().expect("counted in 32 bits")
}

/// Files of a member that are no sockets.
const OTHER_FILES: u64 = 100;

fn fits(facts: &Facts, connections: u32) -> Result<(), String> {
    let needed = u64::from(connections) + OTHER_FILES;
    if needed <= facts.open_files {
        return Ok(());
    }
    Err(format!(
        "its part is {connections} sockets, which need {needed} open files, and it may have {}: take more members, or \
         raise its limit (ulimit -Hn {needed})",
        facts.open_files
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_has_one_member() {
        for (workers, members) in [(1, 1), (6, 6), (7, 3), (8, 3)] {
            let all: Vec<u32> = shares(workers, members).into_iter().flatten().collect();
            assert_eq!(all, (0..workers).collect::<Vec<_>>());
        }
    }
}
