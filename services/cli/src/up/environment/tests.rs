use super::*;

const GATEWAY: Service = SERVICES[0];

fn given(variables: &[(&str, &str)]) -> Variables {
    variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
}

fn of_gateway(variables: &[(&str, &str)], shared: &[(&str, &str)]) -> Vec<(String, String)> {
    let shared: Vec<_> = shared.iter().map(|(name, value)| (*name, OsString::from(value))).collect();
    let text = |text: OsString| text.into_string().unwrap();
    of_service(&GATEWAY, &given(variables), &shared).into_iter().map(|(n, v)| (text(n), text(v))).collect()
}

fn pairs(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_services_own_settings_win_over_the_common_ones_and_lose_their_prefix() {
    let shown = of_gateway(
        &[("PATH", "/bin"), ("RUST_LOG", "info"), ("SYNAPSE_GATEWAY_RUST_LOG", "debug"), ("HOST", "::1")],
        &[],
    );
    assert_eq!(shown, pairs(&[("HOST", "::1"), ("PATH", "/bin"), ("RUST_LOG", "debug")]));
}

#[test]
fn ports_are_never_shared() {
    let shown = of_gateway(&[("PORT", "80"), ("ADMIN_PORT", "81"), ("SYNAPSE_GATEWAY_PORT", "5009")], &[]);
    assert_eq!(shown, pairs(&[("PORT", "5009")]));
}

#[test]
fn what_up_decides_wins_over_what_it_was_given_but_not_over_the_services_own() {
    let shared = [("DATA_DIR", "/abs"), ("LOG_FORMAT", "json")];
    let shown = of_gateway(&[("DATA_DIR", "rel"), ("SYNAPSE_GATEWAY_LOG_FORMAT", "text")], &shared);
    assert_eq!(shown, pairs(&[("DATA_DIR", "/abs"), ("LOG_FORMAT", "text")]));
}

#[test]
fn a_secret_of_its_own_replaces_the_common_one_whichever_way_it_was_given() {
    let shown = of_gateway(&[("JWT_SECRET_FILE", "/common"), ("SYNAPSE_GATEWAY_JWT_SECRET", "own")], &[]);
    assert_eq!(shown, pairs(&[("JWT_SECRET", "own")]));
    let shown = of_gateway(&[("JWT_SECRET", "common"), ("SYNAPSE_GATEWAY_JWT_SECRET_FILE", "/own")], &[]);
    assert_eq!(shown, pairs(&[("JWT_SECRET_FILE", "/own")]));
}

#[test]
fn a_contradiction_among_its_own_settings_is_left_for_the_service_to_refuse() {
    let own = [("SYNAPSE_GATEWAY_JWT_SECRET", "a"), ("SYNAPSE_GATEWAY_JWT_SECRET_FILE", "/b")];
    assert_eq!(of_gateway(&own, &[]), pairs(&[("JWT_SECRET", "a"), ("JWT_SECRET_FILE", "/b")]));
}

#[test]
fn a_redis_of_its_own_replaces_the_common_address() {
    let shared = [("REDIS_URL", "redis://127.0.0.1:6379")];
    let shown = of_gateway(&[("SYNAPSE_GATEWAY_REDIS_HOST", "elsewhere")], &shared);
    assert_eq!(shown, pairs(&[("REDIS_HOST", "elsewhere")]));
    let shown = of_gateway(&[("REDIS_PASSWORD", "p"), ("SYNAPSE_GATEWAY_RUST_LOG", "debug")], &shared);
    let common = [("REDIS_PASSWORD", "p"), ("REDIS_URL", "redis://127.0.0.1:6379"), ("RUST_LOG", "debug")];
    assert_eq!(shown, pairs(&common));
}
