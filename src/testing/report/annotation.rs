//! Annotations: lines that GitHub's runner takes for commands.

use std::fmt::Write;

use super::places::{Place, Places};
use crate::testing::found::{Found, Sentence};

/// One line for each stall. It stands at the line that blocked, or where that is not known at the test.
pub(super) fn lines<'a>(
    found: &'a Found<'a>,
    places: &'a Places,
) -> impl Iterator<Item = String> + 'a {
    found.stalls.iter().map(|stall| {
        let mut line = "::error ".to_owned();
        let mut text = Sentence(stall).to_string();
        let site = stall.site.as_ref();
        let at = site.and_then(|site| places.place(site.file.as_ref()?, site.line?));
        let _ = match (site, &at) {
            (Some(site), Some(Place { file, line })) => {
                write!(text, "\nat {file}:{line} in {}", site.function)
            }
            (Some(site), None) => write!(text, "\nat {site}"),
            (None, _) => Ok(()),
        };
        let test = || places.place(found.place.file(), found.place.line());
        if let Some(place) = at.or_else(test) {
            let _ = write!(line, "file={},line={},", property(&place.file), place.line);
        }
        let title = property(&format!("{} blocks: {}", stall.handler, stall.cause));
        let Found { what, place, .. } = found;
        let _ = write!(text, "\nfix: {}\nfound by {what} at {place}", stall.fix);
        let _ = write!(line, "title={title}::{}", data(&text));
        line
    })
}

/// As the runner decodes the text of a command.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The same for the value of a property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use std::panic::Location;
    use std::time::Duration;

    use super::*;
    use crate::stall::{Site, Stall};
    use crate::testing::found::tests::stall;
    use crate::testing::report::places::tests::places;

    fn line(stall: Stall) -> String {
        let place = Location::caller();
        let threshold = Duration::from_millis(100);
        let found = Found { what: "call", place, threshold, stalls: &[stall] };
        let line = lines(&found, &places("/app")).next().expect("a line");
        line.replace(&data(&place.to_string()), "PLACE")
            .replace(&format!("{},line={}", place.file(), place.line()), "TEST")
    }

    #[test]
    fn a_stall_is_one_line_with_its_place() {
        let expected = "::error file=src/app.rs,line=31,title=GET /hello blocks%3A sleep::GET /hello \
                        blocked worker 2 of runtime \"main\" for 104 ms: sleep (nanosleep, 5 s)%0Aat \
                        src/app.rs:31 in app::handler%0Afix: use tokio::time::sleep(..).await%0Afound by \
                        call at PLACE";
        assert_eq!(line(stall()), expected);
    }

    #[test]
    fn what_would_end_a_part_is_escaped() {
        let handler = "50% of a:b,\r\n::error::c".into();
        let line = line(Stall { handler, ..stall() });
        assert!(line.contains("title=50%25 of a%3Ab%2C%0D%0A%3A%3Aerror%3A%3Ac blocks%3A sleep::50%25 of a:b,%0D%0A::"), "{line}");
        assert_eq!(line.lines().count(), 1);
    }

    #[test]
    fn without_a_line_it_stands_at_the_test() {
        let none = line(Stall { site: None, ..stall() });
        assert!(none.starts_with("::error file=TEST,title="), "{none}");
        let site = Site { function: "f".into(), file: Some("/rustc/x.rs".into()), line: Some(1) };
        let outside = line(Stall { site: Some(site), ..stall() });
        assert!(outside.starts_with("::error file=TEST,title="), "{outside}");
    }
}
