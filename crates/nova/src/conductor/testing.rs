//! A conductor that answers from a script, for tests.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use oslo::context::RequestContext;
use oslo::rpc::{CallError, Failure, Target};
use serde_json::{Map, Value};

use super::{Conductor, Options, Rpc};

/// What the scripted conductor got.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    /// `Class.method` of an object call, else the method.
    pub what: String,
    pub args: Map<String, Value>,
}

/// Answers in order; says what it was asked.
#[derive(Clone, Default)]
pub struct Script {
    answers: Arc<Mutex<VecDeque<Result<Value, CallError>>>>,
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl Script {
    /// The next answer.
    pub fn then(self, answer: Result<Value, CallError>) -> Self {
        self.answers.lock().unwrap().push_back(answer);
        self
    }

    /// The conductor that follows this script.
    pub fn conductor(&self) -> Conductor {
        Conductor::new(Arc::new(self.clone()), Options::default())
    }

    /// What was asked, in order.
    pub fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }

    /// What was asked, by name.
    pub fn names(&self) -> Vec<String> {
        self.sent().into_iter().map(|sent| sent.what).collect()
    }

    fn note(&self, method: &str, args: Map<String, Value>) {
        let word = |name: &str| args.get(name).and_then(Value::as_str);
        let class = args
            .get("objinst")
            .and_then(|object| object.get("nova_object.name"))
            .and_then(Value::as_str)
            .or(word("objname"));
        let what = match (class, word("objmethod")) {
            (Some(class), Some(action)) => format!("{class}.{action}"),
            _ => method.to_owned(),
        };
        self.sent.lock().unwrap().push(Sent { what, args });
    }
}

/// A failure that the conductor raises.
pub fn raised(class: &str) -> Result<Value, CallError> {
    Err(CallError::Remote(Failure::nova(class, format!("{class} was raised"), Map::new())))
}

#[async_trait]
impl Rpc for Script {
    async fn call(
        &self,
        _: &RequestContext,
        _: &Target,
        method: &str,
        args: Map<String, Value>,
        _: Duration,
    ) -> Result<Value, CallError> {
        self.note(method, args);
        self.answers.lock().unwrap().pop_front().unwrap_or(Err(CallError::Timeout))
    }

    async fn cast(
        &self,
        _: &RequestContext,
        _: &Target,
        method: &str,
        args: Map<String, Value>,
        _: Duration,
    ) -> Result<(), CallError> {
        self.note(method, args);
        Ok(())
    }
}
