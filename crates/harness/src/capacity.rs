//! The search for the greatest load that holds: one probe after another on the same ground.

use std::{collections::BTreeMap, fs::File, io::Write as _, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use ws_analysis::{
    capacity::{
        Answer, Capacity, Quantity, SCHEMA,
        limit::{By, Limit},
        probe::{Outcome, Probe, Scene},
        search::{Options, Search},
        text,
    },
    exit::Exit,
    report::{Report, Target as Met},
    threshold::Threshold,
};

use crate::{
    Tool,
    args::{Form, OutputFile, OutputFormat, RunArgs, Ui, capacity::CapacityArgs, proof::ProofArgs},
    config::{Config, Target},
    limits,
    run::{Failure, Ground, Ran, failed, say, shows_color, to_the_end},
};

/// Above this no value is tried: far more than there is.
const HIGHEST: u32 = u32::MAX / 64;

/// How long everything may take to come after the last send of a probe.
const SETTLE: Duration = Duration::from_secs(5);

/// Searches as `args` say, to the exit code.
#[must_use]
pub fn capacity(tool: &Tool, args: CapacityArgs) -> ExitCode {
    match Plan::new(tool, args) {
        Ok(plan) => to_the_end(plan.carry_out(tool)),
        Err(error) => failed(Exit::Usage, &error),
    }
}

/// A search, resolved.
struct Plan {
    args: CapacityArgs,
    seed: u64,
    options: Options,
    /// The first probe.
    first: Config,
}

impl Plan {
    fn new(tool: &Tool, mut args: CapacityArgs) -> anyhow::Result<Self> {
        check(&args)?;
        args.run.thresholds.clone_from(&args.slo);
        args.run.duration = Some(args.probe);
        let seed = args.run.seed.unwrap_or_else(|| rand::random::<u32>().into());
        let first = Config::new(tool, args.run.clone(), ProofArgs::default(), seed, shows_color())?;
        let scenario = &first.scenario;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a wide number is cut off"
        )]
        let start = match args.max {
            Quantity::Rate => scenario.rate as u32,
            Quantity::Connections => scenario.connections,
        };
        ensure!(start > 0, "the search starts at --rate, and 0 is silence: give it at least 1");
        if scenario.messages() == 0 {
            let is_of_messages = |demand: &&Threshold| demand.times_messages();
            let demand = args.slo.iter().find(is_of_messages);
            ensure!(
                demand.is_none(),
                "--slo {}: with --rate 0 there is nothing to measure it by; demand 'connect.p99<1s' or 'ended_early==0'",
                demand.map(ToString::to_string).unwrap_or_default()
            );
        }
        let ceiling = args.up_to.unwrap_or(HIGHEST);
        let options = Options { start, ceiling, precision: args.precision, repeats: args.repeats };
        Ok(Self { args, seed, options, first })
    }

    /// The run that probes `value`.
    fn probe(&self, tool: &Tool, value: u32) -> anyhow::Result<Config> {
        let mut run = RunArgs { quiet: true, ..self.args.run.clone() };
        match self.args.max {
            Quantity::Rate => run.rate = Some(value.into()),
            Quantity::Connections => run.connections = Some(value),
        }
        let mut config = Config::new(tool, run, ProofArgs::default(), self.seed, false)?;
        config.settle = SETTLE;
        Ok(config)
    }

    async fn carry_out(mut self, tool: &Tool) -> Result<Exit, Failure> {
        let open_files = limits::fit(&mut self.first).map_err(|error| Failure(Exit::Unreachable, error))?;
        let files = self.open().map_err(|error| Failure(Exit::Usage, error))?;
        let mut ground = Ground::prepare(&self.first, open_files).await?;
        let cpus = ground.environment.cpus;
        let slo: Vec<String> = self.args.slo.iter().map(ToString::to_string).collect();
        self.show(&text::head(self.args.max, &slo, cpus));
        let mut hunt = Hunt { search: Search::new(self.options), probes: Vec::new(), met: None };
        let ended = self.probe_all(tool, &mut ground, &mut hunt).await;
        let interrupted = ground.is_stopped() || ended.is_err();
        let capacity = self.result(tool, &ground, &hunt, slo, interrupted);
        ground.end().await;
        self.publish(&capacity, files)?;
        ended.map(|()| capacity.answer.exit(capacity.limit.as_ref()))
    }

    /// Probes until the search is over, or somebody stops it.
    ///
    /// # Errors
    /// Why a probe could not be run.
    async fn probe_all(&self, tool: &Tool, ground: &mut Ground, hunt: &mut Hunt) -> Result<(), Failure> {
        // The first run finds everything cold.
        let mut is_warm = false;
        while let Some(value) = hunt.search.next() {
            let mut config = self.probe(tool, value).map_err(|error| Failure(Exit::Usage, error))?;
            if let Err(why) = limits::fit(&mut config) {
                // It would be no other the next time.
                (0..self.options.repeats).for_each(|_| hunt.search.record(value, false));
                self.take(hunt, Probe::barred(value, format!("{why:#}")));
                continue;
            }
            // What earlier probes left behind, above all in Redis, must not weigh on this one.
            let renewed = if is_warm { ground.renew(&self.first).await } else { Ok(()) };
            if ground.is_stopped() {
                return Ok(());
            }
            renewed?;
            let probed = self.probe_one(tool, ground, value, &Arc::new(config)).await;
            if ground.is_stopped() {
                return Ok(());
            }
            let (probe, met) = probed?;
            if is_warm {
                hunt.search.record(value, probe.outcome == Outcome::Held);
                self.take(hunt, probe);
                hunt.met.get_or_insert(met);
            }
            is_warm = true;
        }
        Ok(())
    }

    fn take(&self, hunt: &mut Hunt, probe: Probe) {
        self.show(&text::row(&probe));
        hunt.probes.push(probe);
    }

    async fn probe_one(
        &self,
        tool: &Tool,
        ground: &Ground,
        value: u32,
        config: &Arc<Config>,
    ) -> Result<(Probe, Met), Failure> {
        let Ran { evidence, .. } = ground.run(tool, config, Ui::Off, None).await?;
        let busy = evidence.busy();
        let barred = barred(&evidence.outcome.not_opened);
        let report = evidence.judge().report;
        let cpus = u32::try_from(ground.environment.cpus).unwrap_or(u32::MAX);
        let (max, workers, slo) = (self.args.max, config.workers, &config.thresholds);
        let scene = Scene { max, value, slo, workers, cpus, busy, barred };
        let Report { target, .. } = &report;
        Ok((Probe::new(&report, &scene), target.clone()))
    }

    fn result(
        &self,
        tool: &Tool,
        ground: &Ground,
        hunt: &Hunt,
        slo: Vec<String>,
        interrupted: bool,
    ) -> Capacity {
        let cluster = ground.cluster.as_deref();
        let mut capacity = Capacity {
            schema: SCHEMA.into(),
            tool: tool.name.into(),
            version: tool.version.into(),
            max: self.args.max,
            slo,
            precision: self.args.precision,
            repeats: self.args.repeats,
            probe_s: self.args.probe.as_secs_f64(),
            answer: Answer::None,
            value: None,
            failed: None,
            limit: None,
            said: String::new(),
            notes: cluster.map(|cluster| cluster.notes().to_vec()).unwrap_or_default(),
            probes: hunt.probes.clone(),
            seed: self.seed,
            config: self.first.to_json(),
            environment: ground.environment.clone(),
            target: hunt.met.clone().unwrap_or_default(),
        };
        capacity.conclude(&hunt.search, self.limit(ground, hunt), interrupted);
        capacity
    }

    /// What stopped the search where it is now.
    fn limit(&self, ground: &Ground, hunt: &Hunt) -> Option<Limit> {
        let Some(failed) = hunt.search.fails() else {
            let said = format!("--up-to {} was the limit: more was not tried", self.options.ceiling);
            return Some(Limit { by: By::Ceiling, said });
        };
        let failing: Vec<&Probe> = hunt.probes.iter().filter(|probe| probe.value == failed).collect();
        let replicas = match &self.first.target {
            Target::Local(local) => local.replicas,
            Target::Urls(urls) => urls.len(),
        };
        let cpus = u32::try_from(ground.environment.cpus).unwrap_or(u32::MAX);
        Limit::of(&failing, self.args.max, replicas, cpus)
    }

    /// The curve as it grows: part of the text, or beside the document.
    fn show(&self, lines: &str) {
        let output = &self.first.output;
        match output.format {
            // A reader that went away has what it wanted.
            OutputFormat::Text => drop(std::io::stdout().write_all(lines.as_bytes())),
            OutputFormat::Json if output.quiet => {}
            OutputFormat::Json => say(lines.trim_end_matches('\n')),
        }
    }

    fn publish(&self, capacity: &Capacity, files: Vec<File>) -> Result<(), Failure> {
        let unwritten = |error| Failure(Exit::Unreachable, error);
        let document = serde_json::to_string_pretty(capacity).context("the result is no JSON");
        let document = document.map_err(unwritten)? + "\n";
        let shown = match self.first.output.format {
            OutputFormat::Text => &text::foot(capacity),
            OutputFormat::Json => &document,
        };
        let _ = std::io::stdout().write_all(shown.as_bytes());
        let mut written = files.into_iter().map(|mut file| file.write_all(document.as_bytes()));
        written
            .find(Result::is_err)
            .unwrap_or(Ok(()))
            .context("the result can't be written to its --output")
            .map_err(unwritten)
    }

    /// The files for the document; opened before the search and not after it.
    fn open(&self) -> anyhow::Result<Vec<File>> {
        let create = |file: &OutputFile| {
            File::create(&file.path).with_context(|| format!("--output {}", file.path.display()))
        };
        self.first.output.files.iter().map(create).collect()
    }
}

/// A search as far as it went.
struct Hunt {
    search: Search,
    probes: Vec<Probe>,
    /// The target, as it was met.
    met: Option<Met>,
}

/// Options of a run that a search decides itself.
fn check(args: &CapacityArgs) -> anyhow::Result<()> {
    let run = &args.run;
    ensure!(run.thresholds.is_empty(), "--threshold: what has to hold in a search is its --slo");
    ensure!(run.duration.is_none(), "--duration: how long each probe sends is --probe");
    ensure!(run.stages.is_empty(), "--stage: a search decides the rate itself");
    let other = run.output.iter().find(|file| file.form != Form::Json);
    ensure!(other.is_none(), "--output: the result of a search is JSON; name it FILE.json");
    ensure!(args.up_to != Some(0), "--up-to must be at least 1");
    ensure!(run.share.agents.is_none(), "--agents: a search is for one machine; agents take part in run");
    ensure!(args.probe >= Duration::from_secs(1), "--probe must be at least 1s");
    Ok(())
}

/// What this machine lacked to open sockets, as the system says it; none if they all opened or the target refused.
fn barred(not_opened: &BTreeMap<String, u32>) -> Option<String> {
    let ours = ["(os error 23)", "(os error 24)", "(os error 99)", "(os error 105)"];
    let (why, count) = not_opened.iter().find(|(why, _)| ours.iter().any(|error| why.contains(error)))?;
    Some(format!("{count} sockets did not open: {why}"))
}
