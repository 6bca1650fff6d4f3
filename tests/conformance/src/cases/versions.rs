//! Which versions of the API are served and how a client finds out: the ping, the version, prefixes too old, too new and odd.

use anyhow::{Result, ensure};

use crate::case::{cases, questions};
use crate::lab::Lab;

/// Questions that are asked in several versions.
pub mod each {
    use super::*;

    cases! { "versions_each": every_version_is_served_and_named, lists_in_every_version }

    fn every_version_is_served_and_named(lab: &mut Lab) -> Result<()> {
        for minor in 24..=45 {
            let reply = lab.get(&format!("/v1.{minor}/_ping")).expect(200)?;
            ensure!(reply.head.field("api-version") == Some("1.45"), "{:?}", reply.head);
            lab.get(&format!("/v1.{minor}/version")).expect(200)?;
        }
        Ok(())
    }

    fn lists_in_every_version(lab: &mut Lab) -> Result<()> {
        let idler = lab.idler()?;
        for minor in 24..=45 {
            let one = crate::lab::filters(&serde_json::json!({ "name": [format!("^/{idler}$")] }));
            lab.get(&format!("/v1.{minor}/containers/json?{one}")).expect(200)?;
        }
        Ok(())
    }
}

questions! { "versions":
    ping_get GET "=/_ping" => 200,
    ping_head HEAD "=/_ping" => 200,
    ping_with_a_version GET "/v1.45/_ping" => 200,
    ping_head_of_the_oldest_version HEAD "/v1.24/_ping" => 200,
    ping_post POST "=/_ping" => 404,
    version_without_prefix GET "=/version" => 200,
    version_oldest GET "/v1.24/version" => 200,
    version_newest GET "/v1.45/version" => 200,
    too_old GET "/v1.23/version" => 400,
    much_too_old GET "/v1.0/containers/json" => 400,
    too_new GET "/v1.99/version" => 400,
    one_too_new GET "/v1.46/version" => 400,
    three_numbers GET "=/v1.45.1/version" => 400,
    no_number GET "=/vx/version" => 404,
    upper_case GET "=/V1.45/version" => 404,
    two_prefixes GET "=/v1.45/v1.45/version" => 404,
    double_slash GET "=//version" => 301,
    dot_segments GET "=/v1.45/../v1.45/version" => 301,
    trailing_slash GET "=/v1.45/version/" => 404,
    escaped_path GET "=/v1.45/%76ersion" => 200,
    escaped_slash GET "=/v1.45/volumes%2Fcf-none" => 404,
    query_on_ping GET "=/_ping?x=1&x=2;y" => 200,
    root GET "=/" => 404,
    unknown_path GET "=/nothing/here" => 404,
    unknown_path_with_a_version GET "/v1.45/nothing/here" => 404,
}
