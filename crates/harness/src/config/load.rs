//! The load: what was typed, then what the file says, then what the tool takes by itself.

use std::time::Duration;

use ws_workload::{
    file::Load,
    profile::Stage,
    scenario::{Scenario, Senders},
    size::Size,
    topology::Topology,
};

use crate::{Tool, args::RunArgs};

/// Sockets opened a second, where nothing is said of it.
const CONNECT_RATE: f64 = 2000.0;

/// Members of a room.
const ROOM_SIZE: u32 = 10;

/// Bytes of payload.
const SIZE: Size = Size { least: 128, most: 128 };

/// The whole load; `seed` is taken if none was given.
pub(super) fn scenario(tool: &Tool, args: &RunArgs, load: &Load, duration: Duration, seed: u64) -> Scenario {
    let connections = args.connections.or(load.connections).unwrap_or(tool.connections);
    // A room size that was typed wins over rooms in the file, and the other way round.
    let rooms = match (args.rooms, args.room_size) {
        (Some(rooms), _) => Some(rooms),
        (None, None) => load.rooms,
        (None, Some(_)) => None,
    };
    let room_size = args.room_size.or(load.room_size).unwrap_or(ROOM_SIZE);
    let stages = stages(args, load);
    let rate = if stages.is_empty() { tool.rate } else { 0.0 };
    let connect_stages = if args.connect_stages.is_empty() && args.connect_rate.is_none() {
        &load.connect_stages
    } else {
        &args.connect_stages
    };
    let connect_rate = if connect_stages.is_empty() { CONNECT_RATE } else { 0.0 };
    let mut scenario = Scenario {
        connections,
        rooms: rooms.unwrap_or_else(|| Topology::rooms_for(connections, room_size)),
        zipf: args.zipf.or(load.zipf),
        connect_rate: args.connect_rate.or(load.connect_rate).unwrap_or(connect_rate),
        connect_stages: connect_stages.clone(),
        rate: args.rate.or(load.rate).unwrap_or(rate),
        stages: stages.to_vec(),
        arrivals: args.arrivals.or(load.arrivals).unwrap_or_default(),
        duration,
        size: args.size.or(load.size).unwrap_or(SIZE),
        share_all: args.share_all.or(load.share_all).unwrap_or(0.0),
        senders: args.senders.or(load.senders).unwrap_or(Senders::All),
        churn: args.churn.or(load.churn).unwrap_or(0.0),
        lifetime: args.lifetime.or(load.lifetime),
        seed: args.seed.or(load.seed).unwrap_or(seed),
    };
    // Of rooms that can't be, nobody can say who sends; whoever validates the scenario says why.
    if let Some(each) = rate_per_client(args, load)
        && scenario.validate().is_ok()
    {
        scenario.rate = each * f64::from(scenario.senders());
    }
    scenario
}

/// The course of the rate: one that was typed takes the place of the file's.
pub(super) fn stages<'a>(args: &'a RunArgs, load: &'a Load) -> &'a [Stage] {
    if is_rate_typed(args) { &args.stages } else { &load.stages }
}

/// Messages a second of each connection that sends, if the rate was said in that way.
pub(super) fn rate_per_client(args: &RunArgs, load: &Load) -> Option<f64> {
    args.rate_per_client.or(load.rate_per_client.filter(|_| !is_rate_typed(args)))
}

fn is_rate_typed(args: &RunArgs) -> bool {
    args.rate.is_some() || args.rate_per_client.is_some() || !args.stages.is_empty()
}
