//! Settings from environment variables, over those of the code: an operator needs no build.

use std::ffi::OsString;

use super::parse::switch;
use super::{BuildError, Settings};

const PREFIX: &str = "TOWER_STALL";
/// No setting: `testing` reads it.
const OF_TESTS: &str = "TOWER_STALL_REPORT";

impl Settings {
    /// Applies all variables that concern us. Returns the names of those that look like ours and
    /// are not.
    pub(crate) fn apply<I>(&mut self, variables: I) -> Result<Vec<String>, BuildError>
    where
        I: IntoIterator<Item = (String, String)>,
    {
        let mut unknown = Vec::new();
        for (variable, value) in variables {
            if variable == OF_TESTS {
                continue;
            }
            let Some(name) = variable.strip_prefix(PREFIX) else { continue };
            let set = match name.strip_prefix('_') {
                _ if name.is_empty() => Some(switch(&value).map(|on| self.on = on)),
                Some(name) if name.to_uppercase() == name => self.set(&name.to_lowercase(), &value),
                Some(_) => None,
                None => continue,
            };
            match set {
                Some(Ok(())) => {}
                Some(Err(expected)) => {
                    return Err(BuildError::Variable {
                        variable,
                        value,
                        expected: expected.into(),
                    });
                }
                None => unknown.push(variable),
            }
        }
        Ok(unknown)
    }

    /// Applies the environment and checks the result.
    pub(crate) fn apply_environment(&mut self) -> Result<(), BuildError> {
        for unknown in self.apply(variables())? {
            tracing::warn!(target: "tower_stall", variable = unknown, "no such setting: ignored");
        }
        self.check()
    }
}

/// The variables of this process that begin like ours. What is not Unicode is replaced, and will
/// not parse.
pub(crate) fn variables() -> impl Iterator<Item = (String, String)> {
    let lossy = |text: OsString| text.to_string_lossy().into_owned();
    std::env::vars_os()
        .map(move |(name, value)| (lossy(name), lossy(value)))
        .filter(|(name, _)| name.starts_with(PREFIX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::health::Readiness;

    fn apply(variables: &[(&str, &str)]) -> Result<(Settings, Vec<String>), BuildError> {
        let owned = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let mut settings = Settings::default();
        let unknown = settings.apply(owned)?;
        Ok((settings, unknown))
    }

    #[test]
    fn variables_go_over_the_settings_of_the_code() {
        let (settings, unknown) = apply(&[
            ("TOWER_STALL", "off"),
            ("TOWER_STALL_THRESHOLD", "250ms"),
            ("TOWER_STALL_SCAN_INTERVAL", "10ms"),
            ("TOWER_STALL_TICK_INTERVAL", "1s"),
            ("TOWER_STALL_HISTORY", "7"),
            ("TOWER_STALL_MAX_HANDLERS", "9"),
            ("TOWER_STALL_ADMIN", "[::1]:9099"),
            ("TOWER_STALL_FACADE", "on"),
            ("TOWER_STALL_PAGES_PUBLIC", "true"),
            ("TOWER_STALL_DEAD_AFTER", "3m"),
            ("TOWER_STALL_UNREADY_AFTER", "5s"),
            ("TOWER_STALL_READY_AFTER", "0s"),
            ("TOWER_STALL_SHED_AFTER", "2s"),
            ("TOWER_STALL_READINESS", "start-and-drain"),
            ("TOWER_STALL_RESCUE", "off"),
            ("TOWER_STALL_REPORT", "target/stalls.sarif"),
            ("HOME", "/"),
        ])
        .expect("all are well-formed");
        assert!(unknown.is_empty() && !settings.on && settings.facade && settings.pages_public);
        assert_eq!(settings.threshold, Duration::from_millis(250));
        assert_eq!(settings.scan_interval(), Duration::from_millis(10));
        assert_eq!(settings.tick_interval, Duration::from_secs(1));
        assert_eq!((settings.history, settings.max_handlers), (7, 9));
        let after = [
            settings.dead_after,
            settings.unready_after,
            settings.ready_after,
            settings.shed_after,
        ];
        assert_eq!(after.map(|after| after.as_secs()), [180, 5, 0, 2]);
        assert_eq!(settings.readiness, Readiness::StartAndDrain);
        assert!(!settings.rescue);
        assert_eq!(settings.admin, Some(([0, 0, 0, 0, 0, 0, 0, 1], 9099).into()));
    }

    #[test]
    fn wrong_values_name_the_variable_the_value_and_what_to_write() {
        for (variable, value, hint) in [
            ("TOWER_STALL", "no", "on or off"),
            ("TOWER_STALL_THRESHOLD", "100", "100ms or 60s"),
            ("TOWER_STALL_SCAN_INTERVAL", "", "100ms or 60s"),
            ("TOWER_STALL_PAGES_PUBLIC", "yes", "true or false"),
            ("TOWER_STALL_TICK_INTERVAL", "-1s", "100ms or 60s"),
            ("TOWER_STALL_HISTORY", "many", "a whole number"),
            ("TOWER_STALL_MAX_HANDLERS", "-1", "a whole number"),
            ("TOWER_STALL_ADMIN", "9099", "127.0.0.1:9099"),
            ("TOWER_STALL_FACADE", "yes", "on or off"),
            ("TOWER_STALL_DEAD_AFTER", "60", "100ms or 60s"),
            ("TOWER_STALL_READINESS", "never", "freezes or start-and-drain"),
            ("TOWER_STALL_RESCUE", "never", "true or false"),
        ] {
            let error = apply(&[(variable, value)]).expect_err(variable).to_string();
            for part in [variable, &format!("{value:?}"), hint] {
                assert!(error.contains(part), "{error:?} lacks {part:?}");
            }
        }
    }

    #[test]
    fn an_operator_can_switch_the_admin_server_off() {
        let mut settings =
            Settings { admin: Some(([127, 0, 0, 1], 1).into()), ..Settings::default() };
        let unknown = settings.apply([("TOWER_STALL_ADMIN".into(), "off".into())]);
        assert!(unknown.is_ok_and(|unknown| unknown.is_empty()));
        assert_eq!(settings.admin, None);
    }

    #[test]
    fn misspelt_variables_are_told() {
        let (_, unknown) = apply(&[
            ("TOWER_STALL_TRESHOLD", "1s"),
            ("TOWER_STALL_history", "1"),
            ("TOWER_STALLS", "x"),
        ])
        .expect("unknown is not an error");
        assert_eq!(unknown, ["TOWER_STALL_TRESHOLD", "TOWER_STALL_history"]);
    }
}
