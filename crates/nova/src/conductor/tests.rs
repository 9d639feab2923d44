//! The conductor's client against a script, on a paused clock.

use super::testing::{Script, raised};
use super::*;

async fn read(script: &Script) -> Result<Value> {
    let context = RequestContext::admin();
    script
        .conductor()
        .read(&context, "Service", "get_minimum_version", json!(["nova-compute"]), json!({}))
        .await
}

async fn save(script: &Script, repeat: Repeat) -> Result<Acted> {
    let mut service = Object::new("Service", "1.22");
    service.insert("id", 1);
    service.set("report_count", 2);
    script.conductor().act(&RequestContext::admin(), service, "save", json!({}), repeat).await
}

#[tokio::test(start_paused = true)]
async fn a_read_goes_on_until_it_is_answered() {
    let script = Script::default()
        .then(Err(CallError::Timeout))
        .then(Err(CallError::Unreachable("no broker".into())))
        .then(raised("DBConnectionError"))
        .then(Ok(json!(74)));
    assert_eq!(read(&script).await.unwrap(), json!(74));
    assert_eq!(script.sent().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn what_the_conductor_raises_is_not_asked_again() {
    let script = Script::default().then(raised("InstanceNotFound")).then(Ok(json!(1)));
    assert!(read(&script).await.unwrap_err().is("InstanceNotFound"));
    assert_eq!(script.sent().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_message_of_a_failure_that_is_not_novas_own_is_shown_to_nobody() {
    let sql = "(pymysql.err.DataError) [SQL: UPDATE block_device_mapping] [parameters: {'auth_password': 'canary'}]";
    let wire = |class: &str, module: &str, message: &str| {
        CallError::Remote(Failure::from_wire(
            &json!({ "class": class, "module": module, "message": message }),
        ))
    };
    let script = Script::default().then(Err(wire("DBDataError", "oslo_db.exception", sql))).then(Err(wire(
        "InstanceNotFound_Remote",
        "nova.exception_Remote",
        "Instance u could not be found.",
    )));
    let error = read(&script).await.unwrap_err();
    assert_eq!(error.to_string(), "DBDataError");
    let error = ports::Error::from(error);
    assert!(!format!("{error} {error:?}").contains("canary"));
    assert_eq!(read(&script).await.unwrap_err().to_string(), "Instance u could not be found.");
}

#[tokio::test(start_paused = true)]
async fn patience_ends() {
    let script = Script::default();
    let began = Instant::now();
    assert!(matches!(read(&script).await, Err(Error::Unanswered(_))));
    let patience = Options::default().patience;
    assert!(began.elapsed() <= patience && began.elapsed() > patience / 2);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_the_broker_took_is_not_made_again_unless_it_may() {
    let script = Script::default().then(Err(CallError::Timeout)).then(Ok(json!([{}, null])));
    assert!(matches!(save(&script, Repeat::IfNotDone).await, Err(Error::Unanswered(_))));
    assert_eq!(save(&script, Repeat::Freely).await.unwrap(), Acted::default());
}

#[tokio::test(start_paused = true)]
async fn a_write_that_the_broker_did_not_take_is_made_again() {
    let script =
        Script::default().then(Err(CallError::Unreachable("no broker".into()))).then(Ok(json!([{}, null])));
    assert!(save(&script, Repeat::IfNotDone).await.is_ok());
    assert_eq!(script.names(), ["Service.save", "Service.save"]);
}

#[tokio::test(start_paused = true)]
async fn a_report_is_tried_once() {
    let script = Script::default().then(Err(CallError::Unreachable("no broker".into())));
    assert!(save(&script, Repeat::Never).await.is_err());
    assert_eq!(script.sent().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_another_form_is_an_error_and_no_panic() {
    for answer in [json!(null), json!([]), json!([1, 2]), json!({}), json!("x")] {
        let script = Script::default().then(Ok(answer));
        assert!(matches!(save(&script, Repeat::Freely).await, Err(Error::Malformed(_))));
    }
}

#[tokio::test]
async fn a_class_method_is_called_with_the_versions_that_it_may_answer_in() {
    let script = Script::default().then(Ok(json!(74)));
    read(&script).await.unwrap();
    let args = &script.sent()[0].args;
    assert_eq!(args["objname"], "Service");
    assert_eq!(args["object_versions"]["Service"], "1.22");
    assert_eq!((&args["args"], &args["kwargs"]), (&json!(["nova-compute"]), &json!({})));
}
