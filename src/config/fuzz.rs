//! For the fuzzer: settings from the environment.

use super::Settings;

/// Variables, one a line: the name without its prefix, `=`, and the value.
///
/// # Panics
///
/// Settings pass the check that cannot be, or an error does not name what is wrong.
pub fn settings(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let variables = text.split('\n').filter_map(|line| line.split_once('='));
    let variables = variables.map(|(name, value)| (format!("TOWER_STALL{name}"), value.to_owned()));
    let mut settings = Settings::default();
    match settings.apply(variables.clone()) {
        Err(error) => {
            let error = error.to_string();
            assert!(variables.into_iter().any(|(name, _)| error.contains(&name)), "{error}");
        }
        Ok(_) => match settings.check() {
            Err(error) => assert!(!error.to_string().is_empty()),
            Ok(()) => {
                let interval = settings.scan_interval();
                assert!(!interval.is_zero() && interval <= settings.threshold);
                let _ = (settings.capture(), format!("{settings:?}"));
            }
        },
    }
}
