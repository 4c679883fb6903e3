//! What is asked of a deployment under way.

use super::{Denied, Desk, TRIES_MAX, contended, denied};
use crate::deployer::charge::put_state;
use crate::deployer::machine::{Ask, Course, Stage, Task};
use crate::deployer::record::{Asked, Deployment, application_key, ask_key, deployment_key};
use crate::kubernetes::Name;
use crate::store::{Area, Expected, StoreError, Transaction};

pub(super) async fn ask(desk: &Desk, app: &Name, id: &str, ask: Ask, by: &str) -> Result<(), Denied> {
    for _ in 0..TRIES_MAX {
        let Some((deployment, own)) = desk.deployment(app, id).await? else {
            return Err(Denied::NotFound(format!("{app} has no deployment {id}")));
        };
        let application = desk.application(app).await?;
        let Some((_, version)) = application.filter(|(it, _)| it.open.as_deref() == Some(id)) else {
            return Err(Denied::Conflict(format!("deployment {id} of {app} is not under way")));
        };
        refuse(&deployment, ask)?;
        let before = super::read::<Asked>(&**desk.store(), &ask_key(app)).await.map_err(denied)?;
        let before = before.filter(|(before, _)| before.deployment == id);
        if ask == Ask::Finish && before.is_some_and(|(before, _)| before.ask == Ask::Back) {
            return Err(Denied::Conflict(format!("deployment {id} of {app} was asked to go back")));
        }
        let asked = Asked { deployment: id.to_owned(), ask, by: by.to_owned() };
        // In no other stage than it was seen in, so that what can still be done is done.
        let expect = vec![
            (Area::State, application_key(app), Expected::Version(version)),
            (Area::State, deployment_key(app, id), Expected::Version(own)),
        ];
        let operations = vec![put_state(ask_key(app), &asked)];
        match desk.store().commit(Transaction { expect, operations }).await {
            Ok(revision) => {
                desk.heard(revision.0).await;
                return Ok(());
            }
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(denied(error)),
        }
    }
    Err(contended(app))
}

fn refuse(deployment: &Deployment, ask: Ask) -> Result<(), Denied> {
    let id = &deployment.id;
    let no = |why: String| Err(Denied::Conflict(format!("deployment {id} {why}")));
    let Some(position) = &deployment.position else { return no("is over".into()) };
    if position.course == Course::Back {
        return if ask == Ask::Back { Ok(()) } else { no("goes back already".into()) };
    }
    match ask {
        Ask::Back if !position.can_go_back() => {
            no(format!("is in stage {} and cannot go back any more", position.stage))
        }
        Ask::Finish if position.task != Task::Deploy || position.stage > Stage::KeepWarm => {
            no(format!("is in stage {} and keeps nothing warm", position.stage))
        }
        _ => Ok(()),
    }
}
