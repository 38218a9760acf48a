//! The variables that each service is started with.

use std::{collections::BTreeMap, ffi::OsString};

use super::catalog::{SERVICES, Service};

/// Variables of a process, by name.
pub(crate) type Variables = BTreeMap<OsString, OsString>;

/// Settings that no two services can share.
const NEVER_COMMON: [&str; 2] = ["PORT", "ADMIN_PORT"];
/// Any of these, given to a service alone, says that it has a Redis of its own.
const REDIS_ADDRESS: [&str; 4] = ["REDIS_URL", "REDIS_URL_FILE", "REDIS_HOST", "REDIS_PORT"];

/// What a service is started with: `SYNAPSE_<SERVICE>_<NAME>` as `NAME`, over what all share.
///
/// `given` are our own variables, `shared` those that `up` decided for all services and that win over `given`.
pub(crate) fn of_service(service: &Service, given: &Variables, shared: &[(&str, OsString)]) -> Variables {
    let mut variables: Variables =
        given.iter().filter(|(name, _)| !is_prefixed(name)).map(|(n, v)| (n.clone(), v.clone())).collect();
    for name in NEVER_COMMON {
        variables.remove(&OsString::from(name));
    }
    for (name, value) in shared {
        set(&mut variables, name, value.clone());
    }
    let prefix = service.prefix();
    let own: Vec<(&str, &OsString)> = given
        .iter()
        .filter_map(|(name, value)| Some((name.to_str()?.strip_prefix(&prefix)?, value)))
        .filter(|(name, _)| !name.is_empty())
        .collect();
    if own.iter().any(|(name, value)| REDIS_ADDRESS.contains(name) && !value.is_empty()) {
        for name in REDIS_ADDRESS {
            variables.remove(&OsString::from(name));
        }
    }
    // The plain name after its file would undo the file: first clear what either replaces, then set both as given.
    for (name, _) in &own {
        variables.remove(&OsString::from(twin(name)));
    }
    for (name, value) in own {
        variables.insert(name.into(), value.clone());
    }
    variables
}

/// Sets a variable that replaces its `NAME_FILE` as well.
pub(crate) fn set(variables: &mut Variables, name: &str, value: OsString) {
    variables.remove(&OsString::from(twin(name)));
    variables.insert(name.into(), value);
}

/// The other way to give the same secret: its value or the file that holds it.
fn twin(name: &str) -> String {
    name.strip_suffix("_FILE").map_or_else(|| format!("{name}_FILE"), str::to_owned)
}

fn is_prefixed(name: &OsString) -> bool {
    let prefixed = |name: &str| SERVICES.iter().any(|service| name.starts_with(&service.prefix()));
    name.to_str().is_some_and(prefixed)
}

#[cfg(test)]
mod tests;
