//! One request of the bulk route: lines sent, and the answer of each line.

use std::io::{BufRead, BufReader, Read};

use serde::Deserialize;
use serde_json::Value;
use vatra_formats::import::Place;

use crate::cli::api::{Api, Problem};

/// Most lines of one request.
const LINES_MAX: usize = 1000;
/// Most bytes of one request, unless a single line is larger.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest line of an answer.
const ANSWER_LINE_BYTES_MAX: u64 = 64 * 1024;

/// Lines that wait to be sent.
#[derive(Debug, Default)]
pub(super) struct Batch {
    lines: Vec<u8>,
    /// Where each line stands in the imported file.
    places: Vec<Place>,
}

/// What became of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LineOutcome {
    /// A new alert.
    Created,
    /// An alert with this external id was there; nothing changed.
    Existing,
    /// Refused; nothing changed.
    Refused(Problem),
}

/// A line of the answer. Members that are not needed here are ignored.
#[derive(Debug, Deserialize)]
struct AnswerLine {
    /// Number of the line in the request, from 1.
    line: usize,
    created: Option<bool>,
    problem: Option<Value>,
}

impl Batch {
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn has_room_for(&self, line: &[u8]) -> bool {
        self.places.is_empty() || (self.places.len() < LINES_MAX && self.lines.len() + line.len() < BYTES_MAX)
    }

    pub(super) fn push(&mut self, place: Place, line: &[u8]) {
        self.lines.extend_from_slice(line);
        self.lines.push(b'\n');
        self.places.push(place);
    }

    /// Sends the batch and tells what became of each line, in the order of the answer.
    pub(super) fn send(self, api: &Api, told: impl FnMut(Place, LineOutcome)) -> anyhow::Result<()> {
        let answer = api.post_lines("/api/v1/alerts/bulk", self.lines)?;
        read_answer(answer, &self.places, told, api)
    }
}

fn read_answer(
    answer: impl Read,
    places: &[Place],
    mut told: impl FnMut(Place, LineOutcome),
    api: &Api,
) -> anyhow::Result<()> {
    let mut reader = BufReader::new(answer);
    let mut is_answered = vec![false; places.len()];
    loop {
        let mut line = Vec::new();
        let read = (&mut reader).take(ANSWER_LINE_BYTES_MAX).read_until(b'\n', &mut line);
        if read.map_err(|error| api.broken_off(&error))? == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let answer: AnswerLine =
            serde_json::from_slice(&line).map_err(|error| api.unexpected(format!("a line of the answer: {error}")))?;
        let index = answer.line.checked_sub(1).filter(|&index| is_answered.get(index) == Some(&false));
        let index = index.ok_or_else(|| api.unexpected(format!("an answer for line {}, not expected", answer.line)))?;
        is_answered[index] = true;
        told(places[index], outcome(&answer));
    }
    match is_answered.iter().filter(|answered| !**answered).count() {
        0 => Ok(()),
        missing => Err(api.unexpected(format!("no answer for {missing} of {} lines", places.len())).into()),
    }
}

fn outcome(answer: &AnswerLine) -> LineOutcome {
    match (&answer.problem, answer.created) {
        (Some(problem), _) => LineOutcome::Refused(Problem::from_json(problem, 0)),
        (None, Some(false)) => LineOutcome::Existing,
        (None, _) => LineOutcome::Created,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(answer: &str, lines: usize) -> anyhow::Result<Vec<(Place, LineOutcome)>> {
        let places: Vec<Place> = (0..lines).map(|index| Place::Line(10 + index)).collect();
        let mut told = Vec::new();
        let api = Api::new("http://127.0.0.1:1", None)?;
        read_answer(answer.as_bytes(), &places, |place, outcome| told.push((place, outcome)), &api)?;
        Ok(told)
    }

    #[test]
    fn answers_are_matched_to_places_in_the_file() {
        let answer = "{\"line\":1,\"id\":\"a\",\"created\":true}\n{\"line\":3,\"id\":\"c\",\"created\":false}\n\
                      {\"line\":2,\"problem\":{\"title\":\"no\",\"detail\":\"too long\",\"field\":\"title\"}}\n";
        let told = read(answer, 3).unwrap();
        assert_eq!(told[0], (Place::Line(10), LineOutcome::Created));
        assert_eq!(told[1], (Place::Line(12), LineOutcome::Existing));
        let (place, LineOutcome::Refused(problem)) = &told[2] else { panic!("{told:?}") };
        assert_eq!((*place, problem.to_string().as_str()), (Place::Line(11), "title: too long"));
    }

    #[test]
    fn answers_that_do_not_match_are_refused() {
        for bad in ["{\"line\":0}\n", "{\"line\":3}\n", "{\"line\":1}\n{\"line\":1}\n", "{\"line\":1}\n", "[]\n"] {
            assert!(read(bad, 2).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_batch_is_bounded_but_takes_one_large_line() {
        let mut batch = Batch::default();
        let large = vec![b'x'; BYTES_MAX + 1];
        assert!(batch.has_room_for(&large));
        batch.push(Place::Line(1), &large);
        assert!(!batch.has_room_for(b"x"));
        let mut batch = Batch::default();
        for number in 0..LINES_MAX {
            assert!(batch.has_room_for(b"x"));
            batch.push(Place::Line(number), b"x");
        }
        assert!(!batch.has_room_for(b"x"));
    }
}
