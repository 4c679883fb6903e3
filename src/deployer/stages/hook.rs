//! Jobs before and after the flip.

use crate::deployer::charge::{Charge, Trouble};
use crate::deployer::cluster::{Cluster, Fate, Mark, Stop, Which, job_tail, record, settle, whose};
use crate::deployer::machine::{Look, Stage};
use crate::deployer::objects::{self, When};
use crate::deployer::record::Facts;
use crate::deployer::world::World;
use crate::store::Transaction;
use k8s_openapi::api::batch::v1::{Job, JobCondition};

pub(super) async fn before(world: &World, charge: &mut Charge) -> Result<Look, Trouble> {
    settle(run(world, charge, When::Before).await)
}

pub(super) async fn undo_before(world: &World, charge: &mut Charge) -> Result<Look, Trouble> {
    settle(undo(world, charge, When::Before).await)
}

pub(super) async fn after(world: &World, charge: &mut Charge) -> Result<Look, Trouble> {
    settle(run(world, charge, When::After).await)
}

pub(super) async fn undo_after(world: &World, charge: &mut Charge) -> Result<Look, Trouble> {
    settle(undo(world, charge, When::After).await)
}

fn stage(when: When) -> Stage {
    match when {
        When::Before => Stage::Migrate,
        When::After => Stage::Follow,
    }
}

fn uid(facts: &mut Facts, when: When) -> &mut Option<String> {
    match when {
        When::Before => &mut facts.migration,
        When::After => &mut facts.follow_up,
    }
}

async fn run(world: &World, charge: &mut Charge, when: When) -> Result<Look, Stop> {
    if when.hook(&charge.deployment).is_none() {
        return Ok(Look::Done);
    }
    let cluster = Cluster::of(world, charge);
    let name = objects::job_name(&charge.deployment, when);
    let known = uid(&mut charge.deployment.facts, when).clone();
    if charge.deployment.facts.finished.contains(&stage(when)) {
        return clear_away(&cluster, &name, known.as_deref()).await;
    }
    match (cluster.get::<Job>(&name).await?, known) {
        (None, None) => create(world, charge, &cluster, when).await,
        (None, Some(_)) => Err(Stop::failed(format!("the Job {name} was removed before it ended"))),
        (Some(job), known) => follow(charge, &cluster, job, known, when).await,
    }
}

/// What succeeded is not kept.
async fn clear_away(cluster: &Cluster, name: &str, uid: Option<&str>) -> Result<Look, Stop> {
    let Some(uid) = uid else { return Ok(Look::Done) };
    match cluster.remove::<Job>(name, Which::Uid(uid), Fate::Later).await? {
        true => Ok(Look::Done),
        false => Err(Stop::waits(format!("the Job {name} is being removed"))),
    }
}

async fn create(world: &World, charge: &mut Charge, cluster: &Cluster, when: When) -> Result<Look, Stop> {
    let environment = super::environment(world).await?;
    let wanted = objects::job(&charge.deployment, charge.application.term, &environment, when);
    let Some(wanted) = wanted.map_err(Stop::failed)? else { return Ok(Look::Done) };
    let Some(created) = cluster.create(&wanted).await? else {
        return Err(Stop::waits("the Job was changed meanwhile"));
    };
    charge.say(format!("created the Job {}", name(&created)));
    match keep(charge, &created, when).await {
        Err(Stop::Trouble(Trouble::Lost(app))) => {
            cluster.take_back(&created).await;
            Err(Trouble::Lost(app).into())
        }
        kept => kept.map(|()| Look::Waits(format!("the Job {} runs", name(&created)))),
    }
}

/// Writes down which Job it is.
async fn keep(charge: &mut Charge, job: &Job, when: When) -> Result<(), Stop> {
    let found = job.metadata.uid.clone();
    record(charge, |deployment| *uid(&mut deployment.facts, when) = found, Transaction::default()).await?;
    Ok(())
}

async fn follow(
    charge: &mut Charge,
    cluster: &Cluster,
    job: Job,
    known: Option<String>,
    when: When,
) -> Result<Look, Stop> {
    let name = name(&job).to_owned();
    if known.is_none() {
        match whose(&job.metadata) {
            Mark::Of(id) if id == charge.deployment.id => {}
            Mark::Of(_) => return remove_earlier(charge, cluster, &job).await,
            Mark::Foreign => {
                let full = charge.app.beside(&name);
                return Err(Stop::failed(format!("the Job {full} was not made by a deployment; remove it")));
            }
        }
        let Some(stamped) = cluster.stamp(job.clone()).await? else {
            return Err(Stop::waits("the Job was changed meanwhile"));
        };
        keep(charge, &stamped, when).await?;
    } else if known != job.metadata.uid {
        return Err(Stop::failed(format!(
            "the Job {name} was removed before it ended, and another one made"
        )));
    }
    cluster.check_term(&job.metadata)?;
    match end(&job) {
        End::None(text) => Ok(Look::Waits(text)),
        End::Well => {
            // Written down before it is removed: one that is gone may have failed.
            record(charge, |deployment| deployment.facts.finished.push(stage(when)), Transaction::default())
                .await?;
            charge.say(format!("the Job {name} succeeded"));
            clear_away(cluster, &name, job.metadata.uid.as_deref()).await
        }
        End::Badly(reason) => {
            for line in job_tail(cluster, &job).await {
                charge.say(format!("{name}: {line}"));
            }
            Err(Stop::failed(format!("the Job {name} failed: {reason}")))
        }
    }
}

/// One of an earlier deployment of the same version, whose maker is long gone.
async fn remove_earlier(charge: &mut Charge, cluster: &Cluster, job: &Job) -> Result<Look, Stop> {
    if job.metadata.deletion_timestamp.is_none() {
        charge.say(format!("removes the Job {} of an earlier deployment", name(job)));
    }
    let uid = job.metadata.uid.as_deref().unwrap_or_default();
    cluster.remove::<Job>(name(job), Which::Uid(uid), Fate::First).await?;
    Ok(Look::Waits(format!("an earlier Job {} is being removed", name(job))))
}

/// No Job, and none of its pods.
async fn undo(world: &World, charge: &mut Charge, when: When) -> Result<Look, Stop> {
    if when.hook(&charge.deployment).is_none() {
        return Ok(Look::Done);
    }
    let (name, id) = (objects::job_name(&charge.deployment, when), charge.deployment.id.clone());
    let known = uid(&mut charge.deployment.facts, when).clone();
    let which = known.as_deref().map_or(Which::Of(&id), Which::Uid);
    match Cluster::of(world, charge).remove::<Job>(&name, which, Fate::First).await? {
        true => Ok(Look::Done),
        false => Ok(Look::Waits(format!("the Job {name} is being removed"))),
    }
}

/// How a Job ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// Not yet, and what it does.
    None(String),
    Well,
    Badly(String),
}

fn end(job: &Job) -> End {
    let status = job.status.as_ref();
    let is = |kind: &str| {
        let mut all = status.into_iter().flat_map(|status| status.conditions.iter().flatten());
        all.find(|condition| condition.type_ == kind && condition.status == "True").cloned()
    };
    if is("Complete").is_some() {
        return End::Well;
    }
    if let Some(JobCondition { reason, message, .. }) = is("Failed") {
        let all = [reason, message].into_iter().flatten().filter(|text| !text.is_empty());
        return End::Badly(all.collect::<Vec<_>>().join(": "));
    }
    let count = |of: fn(&k8s_openapi::api::batch::v1::JobStatus) -> Option<i32>| {
        status.and_then(of).unwrap_or_default()
    };
    let (active, failed) = (count(|status| status.active), count(|status| status.failed));
    End::None(format!("the Job {} runs: {active} pods active, {failed} failed", name(job)))
}

fn name(job: &Job) -> &str {
    job.metadata.name.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_job_tells_how_it_ended() {
        let check = |status: Value, expected: End| {
            let job =
                json!({"metadata": {"name": "web-2-before"}, "spec": {"template": {}}, "status": status});
            let job = serde_json::from_value(job).unwrap();
            assert_eq!(end(&job), expected, "{status}");
        };
        let runs = |text: &str| End::None(format!("the Job web-2-before runs: {text}"));
        check(json!({}), runs("0 pods active, 0 failed"));
        check(json!({"active": 1, "failed": 2}), runs("1 pods active, 2 failed"));
        check(json!({"conditions": [{"type": "Complete", "status": "True"}]}), End::Well);
        // Its pods may still end.
        check(
            json!({"conditions": [{"type": "FailureTarget", "status": "True"}]}),
            runs("0 pods active, 0 failed"),
        );
        let failed = json!({"conditions": [
            {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "was too long"},
        ]});
        check(failed, End::Badly("DeadlineExceeded: was too long".into()));
    }
}
