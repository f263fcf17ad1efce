//! Promise: an Ignition document that only names a server is enough: the machine brings its network up
//! before any service, asks the server over TLS with the authority and the header of the document, and
//! carries out what it answers.

mod compat;

use std::time::Duration;

use compat::{FIRMWARE_NAME, POINTER, written};
use kiln_lab::registry::{Fault, Rule, Settings, Tls};
use kiln_lab::{Error, Failure, Life, Registry, WorkDirectory};
use serde_json::{Value, json};

/// What the server has. It is not there at once: servers come up later than machines.
const ANSWER: &str = r#"{
  "ignition": { "version": "3.4.0" },
  "storage": { "files": [
    { "path": "/etc/from-server", "mode": 384, "contents": { "source": "data:,worker%0A" } }
  ] }
}"#;

/// The document with the lab's server and authority instead of the fleet's.
fn pointer(registry: &Registry) -> Result<String, Error> {
    let bad = || Error::Unexpected { what: "the pointer".into(), text: POINTER.into() };
    let mut document: Value = serde_json::from_str(POINTER).map_err(|_| bad())?;
    let authority = &registry.certificates().ok_or_else(bad)?.authority;
    let encoded = <base64ct::Base64 as base64ct::Encoding>::encode_string(authority.as_bytes());
    document["ignition"]["config"]["merge"][0]["source"] =
        json!(format!("https://{}/config/worker", registry.host_for_guests()));
    document["ignition"]["security"]["tls"]["certificateAuthorities"][0]["source"] =
        json!(format!("data:text/plain;charset=utf-8;base64,{encoded}"));
    Ok(document.to_string())
}

#[test]
fn a_pointer_document_is_fetched_from_its_server_with_its_header() -> Result<(), Failure> {
    let work = WorkDirectory::new("pointer")?;
    let registry = Registry::start(Settings { tls: Some(Tls::default()), ..Settings::default() })?;
    registry.script(Rule::new("/config/worker", Fault::busy(1)).times(1));
    let headers = vec![("Content-Type".to_owned(), "application/vnd.coreos.ignition+json".into())];
    let body = ANSWER.as_bytes().to_vec();
    let answer = Fault::Status { status: 200, headers, body };
    registry.script(Rule::new("/config/worker", answer));
    let mut life = Life::new("pointer", &work)?;
    life.hand_over(FIRMWARE_NAME, &written(work.join("pointer.ign"), pointer(&registry)?)?);
    life.power_on()?;
    life.settle()?;
    assert_eq!(life.succeed("sudo -n stat -c %a:%U /etc/from-server")?, "600:root");
    assert_eq!(life.succeed("sudo -n cat /etc/from-server")?, "worker");
    let requests = registry.requests_for("/config/worker");
    assert_eq!(requests.len(), 2, "{requests:?}");
    for request in &requests {
        assert_eq!(request.header("authorization"), Some("Bearer one-time-token"), "{request:?}");
    }
    // The token is the machine's secret: no log has it.
    let journal = life.machine()?.run_for(
        "sudo -n sh -c 'journalctl -b -o cat --no-pager; cat /state/config/*/* /run/kiln/*' \
         2> /dev/null | grep -c one-time-token",
        Duration::from_secs(60),
    )?;
    assert_eq!(journal.text, "0");
    // The system's own network takes over what was brought up before it.
    life.succeed("ip -4 route show default | grep -q 10.0.2.2")?;
    assert_eq!(life.succeed("systemctl list-units --failed --plain --no-legend")?, "");
    Ok(life.power_off()?)
}
