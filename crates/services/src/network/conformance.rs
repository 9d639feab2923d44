//! The port keeps what every adapter keeps, over a Neutron in process.

use compute::ports::conformance::networks::Cloud;
use compute::request::NetworkRequests;

use super::testing::{Lab, NET, build, given, lab};
use super::*;

#[async_trait]
impl Cloud for Lab {
    fn port(&self) -> &dyn ports::Networks {
        &self.networks
    }

    async fn build(&self) -> BuildRequest {
        build(NetworkRequests::Default)
    }

    async fn network(&self) -> Uuid {
        NET.parse().unwrap()
    }

    async fn bring(&self) -> Uuid {
        given(self).parse().unwrap()
    }

    async fn ports_of(&self, id: InstanceId) -> Vec<Uuid> {
        let neutron = self.neutron();
        let of = neutron.ports.iter().filter(|port| port["device_id"] == id.to_string());
        of.map(|port| port["id"].as_str().unwrap().parse().unwrap()).collect()
    }

    async fn has(&self, port: Uuid) -> bool {
        self.neutron().ports.iter().any(|known| known["id"] == port.to_string())
    }
}

compute::conformance!(networks, lab());
