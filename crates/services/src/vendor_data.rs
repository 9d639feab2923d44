//! Vendor data: the operator's file, and the operator's services, which get a description of the server and
//! answer with what its metadata shall hold.
//!
//! Facts: `nova/api/metadata/vendordata_json.py`, `vendordata_dynamic.py`. Stock asks every service once for
//! every version of the metadata; we ask once a config drive, and all services at the same time.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use compute::instance::Instance;
use compute::ports::{self, VendorData, VendorDataSource};
use configdrive::vendordata::{Request, Target, parse_static};
use futures_util::future::join_all;
use openstack::{Auth, Caller, SessionOptions, external};
use oslo::context::RequestContext;
use secrecy::SecretString;
use serde_json::{Map, Value};
use uuid::Uuid;

/// What of `[api]` matters here.
#[derive(Debug, Clone)]
pub struct Options {
    /// `vendordata_providers` has `StaticJSON`.
    pub fixed: bool,
    /// `vendordata_jsonfile_path`; none gives an empty document.
    pub file: Option<PathBuf>,
    /// `vendordata_providers` has `DynamicJSON`.
    pub dynamic: bool,
    /// `vendordata_dynamic_targets`.
    pub targets: Vec<Target>,
    /// `vendordata_dynamic_failure_fatal`: a service that does not answer ends the build.
    pub failure_fatal: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { fixed: true, file: None, dynamic: false, targets: Vec::new(), failure_fatal: false }
    }
}

/// The session to the operator's services. `group`: the session of `[vendordata_dynamic_auth]`, which gets
/// the token and has the client's certificate; `roots`: `vendordata_dynamic_ssl_certfile`, which replaces the
/// system's roots; the two times are `vendordata_dynamic_connect_timeout` and
/// `vendordata_dynamic_read_timeout`, together the deadline of one try.
pub fn session_options(
    group: &SessionOptions,
    roots: Option<PathBuf>,
    connect: Duration,
    read: Duration,
) -> SessionOptions {
    SessionOptions {
        cafile: roots,
        certfile: group.certfile.clone(),
        keyfile: group.keyfile.clone(),
        timeout: Some(connect + read),
        user_agent: "openstack-nova-vendordata".to_owned(),
        ..SessionOptions::new(Auth::None { endpoint: None })
    }
}

/// The port to the operator's file and services. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Source {
    options: Options,
    services: external::Client,
}

impl Source {
    /// The services are reached through `services`.
    pub fn new(options: Options, services: external::Client) -> Self {
        Self { options, services }
    }

    async fn read_file(&self) -> ports::Result<Value> {
        let Some(path) = &self.options.file else { return Ok(Value::Object(Map::new())) };
        let text = tokio::fs::read(path).await.map_err(|error| {
            ports::Error::Broken(format!(
                "[api] vendordata_jsonfile_path: {} cannot be read: {error}; correct the path or remove the option",
                path.display()
            ))
        })?;
        parse_static(&text).map_err(|error| ports::Error::Broken(error.to_string()))
    }

    async fn ask(&self, caller: &Caller, target: &Target, body: &SecretString) -> ports::Result<Value> {
        match self.services.post(caller, &target.url, body).await {
            Ok(answer) => Ok(answer.unwrap_or_else(|| Value::Object(Map::new()))),
            Err(error) if self.options.failure_fatal && error.is_transient() => Err(
                ports::Error::Unavailable(format!("the vendor data service {} failed: {error}", target.name)),
            ),
            Err(error) if self.options.failure_fatal => {
                tracing::error!(service = target.name, %error, "a vendor data service failed");
                Err(ports::Error::Broken(format!("the vendor data service {} failed", target.name)))
            }
            Err(error) => {
                tracing::warn!(service = target.name, %error, "a vendor data service failed; its part stays empty");
                Ok(Value::Object(Map::new()))
            }
        }
    }
}

#[async_trait]
impl VendorDataSource for Source {
    async fn vendor_data(
        &self,
        context: &RequestContext,
        instance: &Instance,
        image: Option<Uuid>,
    ) -> ports::Result<VendorData> {
        let fixed = if self.options.fixed { Some(self.read_file().await?) } else { None };
        if !self.options.dynamic || self.options.targets.is_empty() {
            return Ok(VendorData { fixed, dynamic: None });
        }
        let body =
            request(instance, image).body().map_err(|error| ports::Error::Broken(error.to_string()))?;
        let caller = Caller::own(context.global_id());
        let asked = self.options.targets.iter().map(|target| self.ask(&caller, target, &body));
        let mut dynamic = Map::new();
        for (target, answer) in self.options.targets.iter().zip(join_all(asked).await) {
            dynamic.insert(target.name.clone(), answer?);
        }
        Ok(VendorData { fixed, dynamic: Some(dynamic) })
    }
}

fn request(instance: &Instance, image: Option<Uuid>) -> Request {
    Request {
        project_id: Some(instance.project_id.clone()),
        instance: instance.id.0,
        image_ref: Some(
            instance.image_ref.clone().or_else(|| image.map(|id| id.to_string())).unwrap_or_default(),
        ),
        user_data: instance.user_data.clone(),
        hostname: instance.hostname.clone(),
        meta: instance.metadata.clone(),
        boot_roles: instance.boot_roles.join(","),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use axum::http::{HeaderMap, StatusCode};
    use axum::response::IntoResponse;
    use axum::routing::post;
    use axum::{Json, Router};
    use openstack::Session;
    use serde_json::json;

    use super::*;
    use compute::ports::conformance::vendor_data::Operator;
    use compute::testing;

    async fn services() -> String {
        let told = |headers: HeaderMap, Json(body): Json<Value>| async move {
            let agent = headers["user-agent"].to_str().unwrap().to_owned();
            assert!(!headers.contains_key("x-auth-token"));
            Json(json!({"agent": agent, "told": body}))
        };
        let app = Router::new()
            .route("/told", post(told))
            .route("/broken", post(|| async { StatusCode::INTERNAL_SERVER_ERROR.into_response() }))
            .route("/odd", post(|| async { "no json" }))
            .route("/blank", post(|| async { " \n" }))
            .route("/refused", post(|| async { StatusCode::FORBIDDEN }))
            .route("/nothing", post(|| async { StatusCode::NO_CONTENT }))
            .route("/empty", post(|| async { "" }))
            .route("/list", post(|| async { "[1]" }))
            .route("/null", post(|| async { "null" }))
            .route("/moved", post(|| async { (StatusCode::SEE_OTHER, [("location", "/list")]) }))
            .route("/away", post(|| async { (StatusCode::FOUND, [("location", "http://elsewhere.test/")]) }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        address
    }

    fn source(options: Options) -> Source {
        let second = Duration::from_secs(1);
        let group = SessionOptions::new(Auth::None { endpoint: None });
        let session = |options| Session::new(options).unwrap();
        let services = session(session_options(&group, None, second, second));
        Source::new(options, external::Client::new(services, session(group)))
    }

    fn target(name: &str, url: String) -> Target {
        Target { name: name.to_owned(), url }
    }

    async fn ask(options: Options) -> ports::Result<VendorData> {
        let mut instance = testing::instance();
        instance.user_data = Some(SecretString::from("IyEvYmlu\nL3No\n"));
        source(options).vendor_data(&RequestContext::admin(), &instance, None).await
    }

    #[test]
    fn the_roots_for_the_services_are_not_those_for_keystone() {
        let group = SessionOptions {
            cafile: Some("/keystone.pem".into()),
            certfile: Some("/own.pem".into()),
            insecure: true,
            ..SessionOptions::new(Auth::None { endpoint: None })
        };
        let second = Duration::from_secs(1);
        let services = session_options(&group, Some("/services.pem".into()), second, second);
        assert_eq!(services.cafile, Some("/services.pem".into()));
        assert_eq!(services.certfile, Some("/own.pem".into()));
        assert!(!services.insecure);
        assert_eq!(session_options(&group, None, second, second).cafile, None);
    }

    #[tokio::test]
    async fn the_file_is_read_for_every_server_and_may_be_absent_from_the_configuration() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"{\"a\": 1}").unwrap();
        let options = Options { file: Some(file.path().to_owned()), ..Options::default() };
        let data = ask(options).await.unwrap();
        assert_eq!((data.fixed, data.dynamic), (Some(json!({"a": 1})), None));
        assert_eq!(ask(Options::default()).await.unwrap().fixed, Some(json!({})));
        assert_eq!(ask(Options { fixed: false, ..Options::default() }).await.unwrap().fixed, None);
    }

    #[tokio::test]
    async fn a_file_that_is_missing_or_malformed_names_its_option() {
        let missing = Options { file: Some("/nonexistent/v.json".into()), ..Options::default() };
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"{").unwrap();
        let malformed = Options { file: Some(file.path().to_owned()), ..Options::default() };
        for options in [missing, malformed] {
            let error = ask(options).await.err().unwrap().to_string();
            assert!(error.contains("[api] vendordata_jsonfile_path"), "{error}");
        }
    }

    /// As nova-compute 34 reads the same answers (`vendordata_dynamic.py`).
    #[tokio::test]
    async fn an_answer_without_a_body_is_an_empty_document_and_one_that_is_no_object_stays() {
        let address = services().await;
        for (path, answer) in [
            ("nothing", Some(json!({}))),
            ("empty", Some(json!({}))),
            ("list", Some(json!([1]))),
            ("null", Some(json!(null))),
            ("moved", Some(json!([1]))),
            ("blank", None),
            ("odd", None),
            ("refused", None),
            ("away", None),
        ] {
            let options = Options {
                dynamic: true,
                targets: vec![target("x", format!("{address}/{path}"))],
                failure_fatal: true,
                ..Options::default()
            };
            let asked = ask(options.clone()).await.map(|data| data.dynamic.unwrap()["x"].clone());
            assert_eq!(asked.ok(), answer, "{path}");
            let asked = ask(Options { failure_fatal: false, ..options }).await.unwrap();
            assert_eq!(asked.dynamic.unwrap()["x"], answer.unwrap_or_else(|| json!({})), "{path}");
        }
    }

    #[tokio::test]
    async fn services_are_told_about_the_server_and_those_that_fail_answer_nothing() {
        let address = services().await;
        let options = Options {
            dynamic: true,
            targets: vec![
                target("cmdb", format!("{address}/told")),
                target("broken", format!("{address}/broken")),
                target("odd", format!("{address}/odd")),
            ],
            ..Options::default()
        };
        let dynamic = ask(options.clone()).await.unwrap().dynamic.unwrap();
        assert_eq!(dynamic.keys().collect::<Vec<_>>(), ["cmdb", "broken", "odd"]);
        assert_eq!((&dynamic["broken"], &dynamic["odd"]), (&json!({}), &json!({})));
        let told = &dynamic["cmdb"];
        assert_eq!(told["agent"], "openstack-nova-vendordata");
        let instance = testing::instance();
        assert_eq!(told["told"]["instance-id"], json!(instance.id));
        assert_eq!(told["told"]["user-data"], "IyEvYmlu\nL3No\n");

        let fatal = ask(Options { failure_fatal: true, ..options }).await.err().unwrap().to_string();
        assert!(fatal.contains("broken"), "{fatal}");
    }

    /// One service of the operator's, which can be away.
    struct Lab {
        source: Source,
        is_away: Arc<AtomicBool>,
    }

    async fn lab() -> Lab {
        let is_away = Arc::new(AtomicBool::new(false));
        let away = is_away.clone();
        let app = Router::new().route(
            "/cmdb",
            post(async move || {
                if away.load(Ordering::Relaxed) {
                    return StatusCode::SERVICE_UNAVAILABLE.into_response();
                }
                Json(json!({"rack": 7})).into_response()
            }),
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/cmdb", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let targets = vec![target("cmdb", url)];
        let source = source(Options { dynamic: true, targets, failure_fatal: true, ..Options::default() });
        Lab { source, is_away }
    }

    #[async_trait]
    impl Operator for Lab {
        fn port(&self) -> &dyn VendorDataSource {
            &self.source
        }

        async fn is_away(&self) {
            self.is_away.store(true, Ordering::Relaxed);
        }
    }

    compute::conformance!(vendor_data, lab());
}
