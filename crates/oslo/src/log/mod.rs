//! Logs in oslo.log's formats: its lines, or JSON; with the request's context in its place.
//!
//! What an event belongs to comes from the spans it happens in: fields called `request_id`,
//! `global_request_id`, `user`, `project`, `domain`, `system_scope`, `user_domain`, `project_domain` and
//! `instance`, of a span or of the event itself, go where oslo.log has them ([`request_span`],
//! [`instance_span`]); every other field follows the message as `name=value`.
//!
//! Times are UTC. What oslo.log has beyond that (rotation, colours, syslog, rate limits, a Python logging
//! configuration) is accepted and left to the system's own tools; `use_journal` and `use_syslog` write to
//! standard error, which systemd puts in the journal.

mod fields;
mod json;
mod levels;
mod options;
mod output;
mod pattern;
mod record;
mod span;
mod text;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use tracing::{Event, Subscriber, span::Attributes, span::Id, span::Record as SpanRecord};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, reload};

pub use levels::DEFAULT_LOG_LEVELS;
pub use options::{OPTIONS, Options};
pub use span::{instance_span, request_span};

use fields::Fields;
use output::Output;
use record::Record;

/// Logging cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log file cannot be opened.
    #[error("log file {}: {reason}; correct log_file and log_dir, or the permissions", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// Logging is set up already.
    #[error("logging is set up already")]
    Installed,
}

/// Makes every event of the process go where the options say.
pub fn init(options: Options) -> Result<Handle, Error> {
    let (layer, handle) = layer::<Registry>(options)?;
    tracing_subscriber::registry().with(layer).try_init().map_err(|_| Error::Installed)?;
    Ok(handle)
}

/// The layer that writes, to be combined with others.
pub fn layer<S>(options: Options) -> Result<(impl Layer<S> + Send + Sync, Handle), Error>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let (filter, reload) = reload::Layer::new(options.levels.clone());
    let output = Output::open(&options)?;
    let writer = Arc::new(Writer { settings: RwLock::new(Settings { options, output }) });
    // It fails only when the subscriber is gone, with which the logs are too.
    let set_levels = Box::new(move |levels| drop(reload.reload(levels)));
    let handle = Handle { writer: Arc::clone(&writer), set_levels };
    Ok((OsloLayer(writer).with_filter(filter), handle))
}

/// Changes the logging of the running process.
pub struct Handle {
    writer: Arc<Writer>,
    set_levels: Box<dyn Fn(Targets) + Send + Sync>,
}

impl Handle {
    /// Takes other options and opens the file anew, also when the options are the same. On an error the old
    /// ones stay.
    pub fn reload(&self, options: Options) -> Result<(), Error> {
        let output = Output::open(&options)?;
        let levels = options.levels.clone();
        *self.writer.settings.write().unwrap_or_else(PoisonError::into_inner) = Settings { options, output };
        // Not before: this logs nothing, but it asks every layer what it wants.
        (self.set_levels)(levels);
        Ok(())
    }
}

struct Settings {
    options: Options,
    output: Output,
}

struct Writer {
    settings: RwLock<Settings>,
}

struct OsloLayer(Arc<Writer>);

impl<S> Layer<S> for OsloLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &SpanRecord<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flatten().collect::<Vec<_>>().into_iter().rev() {
            if let Some(of_span) = span.extensions().get::<Fields>() {
                fields.extend(of_span);
            }
        }
        event.record(&mut fields);
        let record = Record::new(event.metadata(), fields);
        let settings = self.0.settings.read().unwrap_or_else(PoisonError::into_inner);
        let line = if settings.options.json {
            json::line(&record, &settings.options)
        } else {
            text::line(&record, &settings.options)
        };
        settings.output.write(&line);
    }
}
