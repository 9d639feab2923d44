//! What every adapter of [`VendorDataSource`] keeps.

use async_trait::async_trait;
use oslo::context::RequestContext;

use crate::ports::{Error, VendorDataSource};
use crate::testing::instance;

/// An operator's additions that a test can arrange, with the adapter in front of them.
#[async_trait]
pub trait Operator: Send + Sync {
    /// The adapter.
    fn port(&self) -> &dyn VendorDataSource;

    /// Where the additions come from is away from now on, and a build must not go without them.
    async fn is_away(&self);
}

/// The config drive is made again after a restart.
pub async fn the_additions_are_the_same_for_the_same_server(operator: &impl Operator) {
    let (context, server) = (RequestContext::admin(), instance());
    let first = operator.port().vendor_data(&context, &server, None).await.expect("it is read");
    let second = operator.port().vendor_data(&context, &server, None).await.expect("it is read again");
    assert_eq!((first.fixed, first.dynamic), (second.fixed, second.dynamic));
}

/// `vendordata_dynamic_failure_fatal` (`nova/api/metadata/vendordata_dynamic.py`): what is away is waited for, the build does not fail.
pub async fn a_source_that_is_away_is_unavailable(operator: &impl Operator) {
    operator.is_away().await;
    let read = operator.port().vendor_data(&RequestContext::admin(), &instance(), None).await;
    assert!(matches!(read, Err(Error::Unavailable(_))), "it is waited for");
}
