//! How a charge ends: with the deployment, or before it.

use super::{Charge, Trouble, delete_state, put_state, read, trouble};
use crate::deployer::record::{
    Application, Deployment, Facts, Status, application_key, ask_key, deployment_key, lock_key,
};
use crate::deployer::routing::{backend_key, hosts, wanted};
use crate::store::{Area, Expected, StoreError, Transaction};
use std::time::SystemTime;

impl Charge {
    /// Writes that the deployment is over, and gives the application out of this process's charge: its own record, the
    /// application's, that of the version before if this one took its place, the lock and what was asked, all at once.
    ///
    /// # Errors
    /// It was not written, or nobody knows. [`settle`](Self::settle) then says whether it is over.
    pub async fn finish(&mut self, status: Status, reason: Option<String>) -> Result<(), Trouble> {
        let (application, deployment) = self.ended(status, reason);
        let (key, own) = (application_key(&self.app), deployment_key(&self.app, &deployment.id));
        let mut transaction = Transaction::default();
        transaction.expect.push((Area::State, own.clone(), Expected::Version(self.version)));
        if status == Status::Deployed {
            self.end_previous(&mut transaction).await?;
        }
        transaction.operations.push(put_state(key, &application));
        transaction.operations.push(put_state(own, &deployment));
        transaction.operations.push(delete_state(lock_key(&self.app)));
        transaction.operations.push(delete_state(ask_key(&self.app)));
        self.version = self.commit(transaction).await?;
        self.application = application;
        self.written.clone_from(&deployment);
        self.deployment = deployment;
        Ok(())
    }

    /// Gives the application out of this process's charge while its deployment is under way: another one goes on.
    pub(in crate::deployer) async fn release(&mut self) {
        let said = self.flush().await;
        let operations = vec![delete_state(lock_key(&self.app))];
        let released = self.store.commit(Transaction { expect: vec![self.fence()], operations }).await;
        if let (Err(error), _) | (_, Err(error)) = (said, released.map_err(|error| trouble(&self.app, error)))
        {
            tracing::debug!(app = %self.app, %error, "the lock ends by its time");
        }
    }

    fn ended(&self, status: Status, reason: Option<String>) -> (Application, Deployment) {
        let mut deployment = self.deployment.clone();
        let mut application = self.application.clone();
        application.open = None;
        let drop_key =
            |keys: &mut Vec<String>, key: Option<String>| keys.retain(|it| Some(it) != key.as_ref());
        let own = deployment.made.as_ref().map(|made| backend_key(&made.backend));
        match status {
            Status::Deployed => {
                application.live = Some(deployment.id.clone());
                let previous = deployment.facts.previous.as_ref();
                let old = previous.map(|previous| backend_key(&previous.made.backend));
                drop_key(&mut application.keys, old.filter(|old| Some(old) != own.as_ref()));
                let made = deployment.facts.before.iter().filter(|(_, before)| before.is_none());
                application.keys.extend(made.map(|(key, _)| key.clone()));
                application.keys.extend(own);
                // What the descriptor says no more was removed: if it stands there again, it is somebody else's.
                let (wanted, hosts) =
                    (wanted(&self.app, &deployment.descriptor), hosts(&deployment.descriptor));
                let is_wanted = |key: &String| {
                    wanted.contains_key(key) || hosts.iter().any(|host| *key == format!("hosts/{host}/host"))
                };
                application.keys.retain(|key| key.starts_with("backends/") || is_wanted(key));
            }
            Status::Undeployed => (application.live, application.keys) = (None, Vec::new()),
            _ => drop_key(&mut application.keys, own),
        }
        application.keys.sort_unstable();
        application.keys.dedup();
        deployment.status = status;
        deployment.reason = reason;
        (deployment.position, deployment.facts) = (None, Facts::default());
        if status != Status::Deployed {
            deployment.made = None;
        }
        deployment.touch(SystemTime::now());
        (application, deployment)
    }

    /// The version before is over, as well.
    async fn end_previous(&self, transaction: &mut Transaction) -> Result<(), Trouble> {
        let Some(previous) = &self.deployment.facts.previous else { return Ok(()) };
        if previous.id == self.deployment.id {
            return Ok(());
        }
        let key = deployment_key(&self.app, &previous.id);
        match read::<Deployment>(&*self.store, &key).await {
            Ok(Some((mut record, version))) => {
                (record.status, record.made) = (Status::Undeployed, None);
                record.touch(SystemTime::now());
                transaction.operations.push(put_state(key.clone(), &record));
                transaction.expect.push((Area::State, key, Expected::Version(version)));
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(StoreError::Refused(reason)) => {
                tracing::warn!(app = %self.app, reason, "the record of the version before stays as it is");
                Ok(())
            }
            Err(error) => Err(trouble(&self.app, error)),
        }
    }
}
