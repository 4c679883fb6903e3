//! How a deployment begins: one transaction, so that of two calls at once one runs.

use super::{Denied, Desk, TRIES_MAX, contended, denied, names, retention};
use crate::deployer::charge::{Charge, begun};
use crate::deployer::descriptor::Descriptor;
use crate::deployer::machine::{Look, Position, Task};
use crate::deployer::record::{Application, Deployment, Facts, Made, Previous, Status};
use crate::deployer::stages;
use crate::flip::record::{new_id, unix_ms};
use crate::kubernetes::Name;
use crate::store::Expected;
use crate::telemetry::rfc3339;
use std::sync::PoisonError;
use std::time::SystemTime;

/// Lines of a log to which those of another run are added.
const LINES_KEPT_MAX: usize = 1_000;

/// A record with what a write of it expects.
type Held<T> = (T, Expected);

pub(super) async fn deploy(
    desk: &Desk,
    descriptor: Descriptor,
    again: Option<&str>,
    by: &str,
) -> Result<Deployment, Denied> {
    let app = descriptor.app();
    if again.is_none() {
        desk.check_room(&app.namespace)?;
    }
    for _ in 0..TRIES_MAX {
        let (mut application, expected) = idle(desk, &app).await?;
        let former = match again {
            Some(id) => Some(closed(desk, &app, &application, id).await?),
            None => None,
        };
        let mut deployment = draft(desk, &app, &mut application, &descriptor, former.as_ref());
        refuse_names(desk, &app, &deployment)?;
        deployment.facts.previous = previous(desk, &app, &application, &deployment.version).await?;
        let own = former.map_or(Expected::Absent, |(_, expected)| expected);
        let said = format!("version {} was asked for by {by}", deployment.version);
        if let Some(begun) = begin(desk, &app, (application, expected), (deployment, own), said).await? {
            retention::sweep(desk, &app).await;
            return Ok(begun);
        }
    }
    Err(contended(&app))
}

pub(super) async fn undeploy(desk: &Desk, app: &Name, id: &str, by: &str) -> Result<Deployment, Denied> {
    for _ in 0..TRIES_MAX {
        let (application, expected) = idle(desk, app).await?;
        let Some((mut deployment, version)) = desk.deployment(app, id).await? else {
            return Err(Denied::NotFound(format!("{app} has no deployment {id}")));
        };
        if application.live.as_deref() != Some(id) {
            return Err(Denied::Conflict(format!("deployment {id} of {app} is not live")));
        }
        let now = SystemTime::now();
        deployment.status = Status::Undeploying;
        deployment.position = Some(Position::first(Task::Undeploy, unix_ms(now)));
        (deployment.facts, deployment.reason) = (Facts::default(), None);
        deployment.touch(now);
        let own = Expected::Version(version);
        let said = format!("that version {} go was asked for by {by}", deployment.version);
        if let Some(begun) = begin(desk, app, (application, expected), (deployment, own), said).await? {
            return Ok(begun);
        }
    }
    Err(contended(app))
}

/// What a deployment would be, if it were asked for now.
pub(super) async fn check(desk: &Desk, descriptor: &Descriptor) -> Result<Vec<String>, Denied> {
    let app = descriptor.app();
    let (mut application, _) = idle(desk, &app).await?;
    let deployment = draft(desk, &app, &mut application, descriptor, None);
    refuse_names(desk, &app, &deployment)?;
    let place = match previous(desk, &app, &application, &deployment.version).await? {
        Some(previous) => format!("in the place of version {}", previous.version),
        None => "the first one".to_owned(),
    };
    let count = match descriptor.replicas {
        1 => "1 pod".to_owned(),
        count => format!("{count} pods"),
    };
    let mut would_do = vec![format!("version {} of {app} with {count}, {place}", deployment.version)];
    would_do.extend(try_in_cluster(desk, app, application, deployment).await?);
    Ok(would_do)
}

/// The first stage, which creates nothing, with a charge that nobody has.
async fn try_in_cluster(
    desk: &Desk,
    app: Name,
    application: Application,
    deployment: Deployment,
) -> Result<Vec<String>, Denied> {
    let Some(world) = desk.world() else { return Ok(Vec::new()) };
    let mut charge = Charge::new(desk.store().clone(), app, (application, 0), (deployment, 0));
    match stages::look(&world, &mut charge).await {
        Ok(Look::Done) => Ok(charge.said.into_iter().map(|line| line.text).collect()),
        Ok(Look::Failed(reason) | Look::Waits(reason)) => Err(Denied::Conflict(reason)),
        Ok(Look::Away(reason)) => Err(Denied::Away(reason)),
        Err(trouble) => Err(Denied::Away(trouble.to_string())),
    }
}

/// The application's record, with nothing under way.
async fn idle(desk: &Desk, app: &Name) -> Result<Held<Application>, Denied> {
    match desk.application(app).await? {
        None => Ok((Application::default(), Expected::Absent)),
        Some((Application { open: Some(id), .. }, _)) => Err(desk.busy(app, &id).await),
        Some((application, version)) => Ok((application, Expected::Version(version))),
    }
}

/// A deployment that may be done again.
async fn closed(
    desk: &Desk,
    app: &Name,
    application: &Application,
    id: &str,
) -> Result<Held<Deployment>, Denied> {
    let Some((record, version)) = desk.deployment(app, id).await? else {
        return Err(Denied::NotFound(format!("{app} has no deployment {id}")));
    };
    if application.live.as_deref() == Some(id) || !record.status.is_over() {
        return Err(Denied::Conflict(format!("deployment {id} of {app} is live already")));
    }
    let lines = desk.book().log(app, id).count();
    if lines > LINES_KEPT_MAX {
        retention::forget_lines(desk, app, id, version).await?;
    }
    Ok((record, Expected::Version(version)))
}

/// The deployment as it begins. A number is given where one was asked for.
fn draft(
    desk: &Desk,
    app: &Name,
    application: &mut Application,
    descriptor: &Descriptor,
    former: Option<&Held<Deployment>>,
) -> Deployment {
    let now = SystemTime::now();
    let version = match (former, &*descriptor.new_version) {
        (Some((former, _)), _) => former.version.clone(),
        (None, "#") => {
            application.last_number = names::next_number(&desk.book(), app, application.last_number);
            application.last_number.to_string()
        }
        (None, version) => version.to_owned(),
    };
    Deployment {
        id: former.map_or_else(|| new_id(now), |(former, _)| former.id.clone()),
        created: former.map_or_else(|| rfc3339(now), |(former, _)| former.created.clone()),
        last_modified: rfc3339(now),
        version,
        status: Status::Deploying,
        descriptor: descriptor.clone(),
        reason: None,
        position: Some(Position::first(Task::Deploy, unix_ms(now))),
        facts: Facts::default(),
        made: None,
    }
}

fn refuse_names(desk: &Desk, app: &Name, deployment: &Deployment) -> Result<(), Denied> {
    let book = desk.book();
    let same = |(of, id): &(Name, Box<str>), kept: &Deployment| {
        of == app && **id != *deployment.id && kept.version == deployment.version
    };
    let deployed = book
        .deployments
        .iter()
        .find(|(key, kept)| same(key, &kept.value) && kept.value.status == Status::Deployed);
    if let Some(((_, id), _)) = deployed {
        return Err(Denied::Conflict(format!(
            "version {} of {app} is deployed already, by deployment {id}",
            deployment.version
        )));
    }
    match names::taken(&book, app, deployment) {
        Some(reason) => Err(Denied::Conflict(reason)),
        None => Ok(()),
    }
}

/// The version that is live, which is not to be `version`.
async fn previous(
    desk: &Desk,
    app: &Name,
    application: &Application,
    version: &str,
) -> Result<Option<Previous>, Denied> {
    let Some(id) = &application.live else { return Ok(None) };
    let Some((live, _)) = desk.deployment(app, id).await? else {
        return Err(Denied::Conflict(format!(
            "the record of deployment {id} of {app}, which is live, is gone"
        )));
    };
    if live.version == version {
        return Err(Denied::Conflict(format!(
            "version {version} of {app} is live already, by deployment {id}"
        )));
    }
    let made = live.made.unwrap_or_else(|| Made::named(app, &live.version));
    Ok(Some(Previous { id: id.clone(), version: live.version, made }))
}

/// Writes it down, and hands the charge to this process's runner. None: somebody else wrote meanwhile.
async fn begin(
    desk: &Desk,
    app: &Name,
    (mut application, expected): Held<Application>,
    (deployment, own): Held<Deployment>,
    said: String,
) -> Result<Option<Deployment>, Denied> {
    application.open = Some(deployment.id.clone());
    application.holder = desk.holder();
    application.term = application.term.saturating_add(1);
    let lines = desk.book().log(app, &deployment.id).last().map_or(0, |(number, _)| number);
    let ttl = desk.shared.timings.lock_ttl;
    let held = begun(desk.store(), app, (application, expected), (deployment, own), ttl).await;
    let Some(mut charge) = held.map_err(denied)? else { return Ok(None) };
    charge.log_goes_on_after(lines);
    charge.say(said);
    let (deployment, revision) = (charge.deployment.clone(), charge.fence);
    hand_over(desk, charge);
    desk.heard(revision).await;
    Ok(Some(deployment))
}

fn hand_over(desk: &Desk, charge: Charge) {
    desk.shared.begun.lock().unwrap_or_else(PoisonError::into_inner).push(charge);
    desk.shared.has_begun.notify_one();
}
