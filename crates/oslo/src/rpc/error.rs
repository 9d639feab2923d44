//! What can go wrong before a message is sent: the transport URL, its options, TLS files.

/// A transport that cannot be built. Each variant says what the operator has to change.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `transport_url` cannot be read. The URL is not shown: it holds the password.
    #[error("transport_url: {0}")]
    Url(String),
    /// An option of `[oslo_messaging_rabbit]`, or of the URL's query, has a value that is none.
    #[error("[oslo_messaging_rabbit] {option}: {problem}")]
    Option {
        /// The option's name.
        option: String,
        /// What is wrong and what would be right.
        problem: String,
    },
}

impl Error {
    pub(super) fn option(option: &str, problem: impl Into<String>) -> Self {
        Self::Option { option: option.to_owned(), problem: problem.into() }
    }
}
