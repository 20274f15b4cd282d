//! Containers of a Docker Compose project on this machine, which somebody else started.

mod container;
mod engine;

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use ws_workload::fault::{Fault, Kind, On, Site};

pub use container::Container;
pub(crate) use container::{ContainerError, Network, STOP_SECONDS, Seen};
pub use engine::EngineError;
use engine::{Engine, escaped};

/// Which project, and which of its services are what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComposeOptions {
    /// The project's name (`docker compose ls`).
    pub project: String,
    /// What the names of the replicas are like: `app-*`. A name is that of the service, with a number behind it where the
    /// service has several containers.
    pub replicas: String,
    /// The name of Redis.
    pub redis: String,
    /// Where the engine is, as `$DOCKER_HOST` has it.
    pub docker_host: Option<String>,
}

/// The running containers of a project.
#[derive(Debug)]
pub struct Project {
    options: ComposeOptions,
    replicas: Vec<Arc<Container>>,
    redis: Option<Arc<Container>>,
    /// The names of all.
    names: Vec<String>,
}

/// Why there are no containers to break.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// What was asked for is not there.
    #[error("{0}")]
    Usage(String),
    /// Nobody broke it: it would never be back.
    #[error("{node} fails its health check before anything is broken ({status}); see docker inspect {id}")]
    Unhealthy {
        /// The name.
        node: String,
        /// Its id, as short as Docker shows it.
        id: String,
        /// As Docker shows it.
        status: String,
    },
    /// No engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Whether a fault of this kind can be done to containers.
#[must_use]
pub fn can(kind: Kind) -> bool {
    use Kind::{CutRedis, KillPubsub, KillReplica, PauseRedis, PauseReplica, RestartRedis, RollingRestart};
    matches!(
        kind,
        KillReplica | PauseReplica | RollingRestart | CutRedis | KillPubsub | RestartRedis | PauseRedis
    )
}

/// Why a fault of this kind can't be done to containers, and what to do.
#[must_use]
pub fn why_not(kind: Kind) -> String {
    let kinds =
        Kind::ALL.into_iter().filter(|kind| can(*kind)).map(Kind::name).collect::<Vec<_>>().join(", ");
    format!(
        "{kind}: it can't be done with --compose, which can do {kinds}; give commands for it in a scenario file \
         ([command.{kind}], see docs/scenarios.md)"
    )
}

impl Project {
    /// Asks the engine for the project's running containers.
    ///
    /// # Errors
    /// There is no engine, or no such project, or none of its containers has the name of a replica.
    pub async fn find(options: ComposeOptions) -> Result<Self, ComposeError> {
        spawn_blocking(|| Self::look_up(options)).await.expect("it does not panic")
    }

    /// The names of the replicas, in order.
    #[must_use]
    pub fn nodes(&self) -> Vec<String> {
        self.replicas.iter().map(|replica| replica.node.clone()).collect()
    }

    /// Puts all containers to rights, and lets nothing be broken any more: for an end at once, where no fault is dropped.
    /// Blocks until that is done. What could not be put to rights is told.
    #[must_use]
    pub fn close(&self) -> Vec<String> {
        let all = self.replicas.iter().chain(&self.redis);
        all.filter_map(|container| Some(format!("{}: {}", container.node, container.close().err()?)))
            .collect()
    }

    pub(crate) fn replicas(&self) -> &[Arc<Container>] {
        &self.replicas
    }

    pub(crate) fn redis(&self) -> Result<&Arc<Container>, String> {
        let ComposeOptions { project, redis, .. } = &self.options;
        self.redis.as_ref().ok_or_else(|| {
            let names = self.names.join(", ");
            format!("no container {redis} runs in the project {project}; there are {names}; say which is Redis with --compose-redis")
        })
    }

    /// The replicas that `fault` hits.
    pub(crate) fn targets(&self, fault: &Fault, seed: u64) -> Vec<Arc<Container>> {
        let indices = fault.on.among(&self.nodes(), seed).unwrap_or_default();
        indices.into_iter().map(|index| self.replicas[index].clone()).collect()
    }

    /// The networks on which a replica meets Redis.
    pub(crate) fn link(&self, replica: &Container) -> Vec<Network> {
        let theirs = self.redis.as_ref().map(|redis| redis.networks.as_slice()).unwrap_or_default();
        replica.networks.iter().filter(|network| theirs.contains(network)).cloned().collect()
    }

    /// Whether `fault` can be done here; why not, and what to do.
    pub(crate) fn supports(&self, fault: &Fault) -> Result<(), String> {
        let kind = fault.kind;
        if !can(kind) {
            return Err(why_not(kind));
        }
        if kind.site() == Site::Redis {
            self.redis().map_err(|why| format!("{kind}: {why}"))?;
            return match &fault.on {
                On::Node(node) if node != "redis" && *node != self.options.redis => {
                    Err(format!("{kind}: it hits Redis and not {node}; leave out 'on {node}'"))
                }
                _ => Ok(()),
            };
        }
        let nodes = self.nodes();
        if fault.on.among(&nodes, 0).is_none() {
            return Err(format!("{fault}: there is no such replica; there are {}", nodes.join(", ")));
        }
        if kind == Kind::CutRedis {
            self.redis().map_err(|why| format!("{kind}: {why}"))?;
            self.replicas.iter().try_for_each(|replica| self.has_link(replica))?;
        }
        Ok(())
    }

    /// Whether it can be cut off from Redis and from nobody else that it needs.
    fn has_link(&self, replica: &Container) -> Result<(), String> {
        let (node, redis, link) = (&replica.node, &self.options.redis, self.link(replica));
        if link.is_empty() {
            return Err(format!("cut-redis: {node} and {redis} have no network in common"));
        }
        if link.len() == replica.networks.len() {
            let names: Vec<_> = link.iter().map(|network| network.name.as_str()).collect();
            return Err(format!(
                "cut-redis: {node} would lose its clients with Redis, for it is on no network but {}; give {redis} and the \
                 replicas one of their own in the compose file",
                names.join(" and ")
            ));
        }
        Ok(())
    }

    fn look_up(options: ComposeOptions) -> Result<Self, ComposeError> {
        let engine = Arc::new(Engine::at(options.docker_host.as_deref())?);
        let listed = list(&engine, Some(&options.project))?;
        if listed.is_empty() {
            let ComposeOptions { project, .. } = &options;
            let there = list(&engine, None)?
                .into_iter()
                .map(|one| one.project)
                .collect::<std::collections::BTreeSet<_>>();
            let there = there.into_iter().collect::<Vec<_>>().join(", ");
            let there =
                if there.is_empty() { "no other does either".into() } else { format!("there are {there}") };
            let why = format!("--compose {project}: no container of such a project runs; {there}");
            return Err(ComposeError::Usage(why));
        }
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        listed.iter().for_each(|one| *counts.entry(one.service.clone()).or_default() += 1);
        let mut project = Self { options, replicas: Vec::new(), redis: None, names: Vec::new() };
        for one in listed {
            project.add(&engine, one, &counts)?;
        }
        project.replicas.sort_by_key(|replica| natural(&replica.node));
        project.names.sort();
        if project.replicas.is_empty() {
            let (ComposeOptions { replicas, .. }, names) = (&project.options, project.names.join(", "));
            let why = format!("--compose-replicas {replicas}: no container is called so; there are {names}");
            return Err(ComposeError::Usage(why));
        }
        Ok(project)
    }

    fn add(
        &mut self,
        engine: &Arc<Engine>,
        one: Listed,
        counts: &BTreeMap<String, u32>,
    ) -> Result<(), ComposeError> {
        let numbered = format!("{}-{}", one.service, one.number);
        let is_alone = counts.get(&one.service) == Some(&1);
        let is = |pattern: &str| {
            let names = [is_alone.then_some(&one.service), Some(&numbered)];
            names.into_iter().flatten().find(|name| matches(pattern, name)).cloned()
        };
        self.names.push(if is_alone { one.service.clone() } else { numbered.clone() });
        let container = |node| {
            let container = Container::new(engine.clone(), &one.id, node, one.networks.clone());
            if !one.status.contains("(unhealthy)") {
                return Ok(Arc::new(container));
            }
            let (id, status) = (container.short_id().to_owned(), one.status.clone());
            Err(ComposeError::Unhealthy { node: container.node, id, status })
        };
        if let Some(node) = is(&self.options.redis) {
            self.redis = Some(container(node)?);
        } else if let Some(node) = is(&self.options.replicas) {
            self.replicas.push(container(node)?);
        }
        Ok(())
    }
}

/// A running container, as the engine lists it.
struct Listed {
    id: String,
    project: String,
    service: String,
    number: String,
    /// `Up 2 hours (healthy)`
    status: String,
    networks: Vec<Network>,
}

/// Those of one project, or of all.
fn list(engine: &Engine, project: Option<&str>) -> Result<Vec<Listed>, EngineError> {
    let label = "com.docker.compose.project";
    let label = project.map_or_else(|| label.to_owned(), |project| format!("{label}={project}"));
    let filters = json!({ "label": [label], "status": ["running"] }).to_string();
    let found = engine.get(&format!("/containers/json?filters={}", escaped(&filters)))?;
    let found = found.as_array().ok_or_else(|| EngineError::Answer("GET /containers/json".into()))?;
    // What was started by `docker compose run` is none of the service's.
    let is_one_off = |one: &&Value| one["Labels"]["com.docker.compose.oneoff"] == "True";
    Ok(found.iter().filter(|one| !is_one_off(one)).map(listed).collect())
}

fn listed(one: &Value) -> Listed {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let label = |name: &str| text(&one["Labels"][format!("com.docker.compose.{name}")]);
    let networks = one["NetworkSettings"]["Networks"].as_object().into_iter().flatten();
    let network =
        |(name, network): (&String, &Value)| Network { name: name.clone(), id: text(&network["NetworkID"]) };
    Listed {
        id: text(&one["Id"]),
        project: label("project"),
        service: label("service"),
        number: label("container-number"),
        status: text(&one["Status"]),
        networks: networks.map(network).collect(),
    }
}

/// Whether `text` is as `pattern` says, in which a `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(start) else { return false };
    (0..=text.len()).filter(|at| text.is_char_boundary(*at)).any(|at| matches(rest, &text[at..]))
}

/// In the order in which people count: app-2 before app-10.
fn natural(node: &str) -> (String, u64) {
    let digits = node.len() - node.bytes().rev().take_while(u8::is_ascii_digit).count();
    (node[..digits].to_owned(), node[digits..].parse().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_anything() {
        for (pattern, text) in [("app-*", "app-1"), ("*", ""), ("a*-*2", "app-12"), ("app", "app")] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("app-*", "app"), ("app", "app-1"), ("a*b", "ac"), ("*-1", "é-2")] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn replicas_are_in_the_order_of_their_numbers() {
        let mut nodes = ["app-10", "app-2", "app", "b-1"];
        nodes.sort_by_key(|node| natural(node));
        assert_eq!(nodes, ["app", "app-2", "app-10", "b-1"]);
    }
}
