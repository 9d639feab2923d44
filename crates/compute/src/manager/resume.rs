//! What a start resumes: every request that was taken and not ended, and what others left of ours.

use std::collections::HashSet;
use std::io;

use driver::InstanceId;
use oslo::context::RequestContext;
use serde_json::json;

use super::{Manager, Start};
use crate::ending::Change;
use crate::instance::Instance;
use crate::journal::Entry;
use crate::operations::RETRY;
use crate::operations::abandon::{is_rebuild, set_back};
use crate::origin::Origin;
use crate::request::{DeleteRequest, Kind, Request};

/// The operations that the journal holds.
type Journalled = HashSet<(Kind, InstanceId)>;

impl Manager {
    /// Resumes what was under way when the process ended. Returns when everything that the journal holds runs; the rest
    /// is looked for beside it, as soon as the control plane answers.
    ///
    /// An instance of ours that is being deleted and is not in the journal (the request was lost with the process that
    /// took it) is deleted all the same; one that is being built and is not in it (stock nova-compute built it) cannot be
    /// resumed, because its request is lost: it fails, as it does with stock. Any other task is ended.
    ///
    /// A journal that cannot be read is an error: a start without it would fail what it holds.
    pub fn resume(&self) -> io::Result<()> {
        self.resume_consoles()?;
        let journalled = self.resume_journal()?;
        let manager = self.clone();
        self.shared().tasks.spawn(async move {
            let shutdown = manager.0.shutdown.clone();
            shutdown.run_until_cancelled(manager.resume_rest(&journalled)).await;
        });
        Ok(())
    }

    fn resume_journal(&self) -> io::Result<Journalled> {
        let mut journalled = Journalled::new();
        let mut entries = self.shared().journal.entries()?;
        entries.sort_by_key(|entry| entry.key.kind);
        for entry in entries {
            let key = entry.key.clone();
            let request = self.shared().ports.requests.decode(key.kind, &entry.origin.0);
            let Some(request) = request.filter(|request| request.kind() == key.kind) else {
                self.shared().journal.set_aside(&key);
                continue;
            };
            journalled.insert((key.kind, key.instance));
            self.resumed().insert(key);
            let start = Start::of(&entry);
            self.begin(request, entry, start);
        }
        if !journalled.is_empty() {
            tracing::info!(operations = journalled.len(), "operations resumed from the journal");
        }
        Ok(journalled)
    }

    async fn resume_rest(&self, journalled: &Journalled) {
        let context = RequestContext::admin();
        let here = loop {
            match self.shared().ports.instances.on_this_host(&context).await {
                Ok(here) => break here,
                Err(error) => {
                    tracing::warn!(%error, "the instances of this host cannot be listed; trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        };
        let is_journalled = |kind, instance: &Instance| journalled.contains(&(kind, instance.id));
        let mut others = Vec::new();
        for instance in here.into_iter().filter(|instance| !is_journalled(Kind::Delete, instance)) {
            if instance.is_being_deleted() {
                self.resume_delete(&context, instance);
            } else if (instance.task_state.is_some() || instance.is_being_built())
                && !is_journalled(Kind::Create, &instance)
            {
                others.push(instance);
            }
        }
        if others.is_empty() {
            return;
        }
        // What waits in our queues is heard first.
        tokio::time::sleep(RETRY).await;
        for instance in others {
            if !self.shared().registry.is_at_work(instance.id) {
                self.give_up(&context, instance).await;
            }
        }
    }

    fn resume_delete(&self, context: &RequestContext, instance: Instance) {
        tracing::info!(instance = %instance.id, "a delete that was not finished is resumed");
        // The delete reads the disks itself.
        let (block_devices, origin) = (Vec::new(), Origin(serde_json::Value::Null));
        let request: Request =
            DeleteRequest { context: context.clone(), instance, block_devices, is_own: false, origin }.into();
        let entry = Entry::new(request.key(), request.origin().clone());
        self.begin(request, entry, Start::Resumed);
    }

    /// Gives up what nobody works on: whoever took the request, stock nova-compute or we who refuse it, did not live to end
    /// it, and the API allows no other as long as the task stands. What a rebuild that was cut off left on the disk is not
    /// known: the server is in error, as with stock (`nova/compute/manager.py`, `_init_instance`).
    async fn give_up(&self, context: &RequestContext, instance: Instance) {
        let task = instance.task_state.clone();
        if instance.is_being_built() {
            let message =
                "The compute service was restarted, and the request for this server is not in its journal.";
            set_back(self.shared(), context, instance, Change::Error, message).await;
        } else if let Some(task) = task {
            let message = format!(
                "The compute service was restarted while the task of this server was {}, and cannot go on with it.",
                json!(task)
            );
            let change = if is_rebuild(&task) { Change::Error } else { Change::TaskEnds };
            set_back(self.shared(), context, instance, change, &message).await;
        }
    }
}
