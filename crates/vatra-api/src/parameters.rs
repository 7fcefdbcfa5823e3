//! Query strings and path parameters: each name known and given once, or refused by its name.

use std::str::FromStr;

use axum::extract::Query;
use axum::http::Uri;
use vatra_model::ids::ParseIdError;
use vatra_model::{MemberCode, Position, RecordId};
use vatra_stream::{Cursor, Filter, Place, StoreId};

use crate::api::Call;
use crate::limits::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX, PARAMETERS_MAX};
use crate::problem::Problem;
use crate::service::Service;

/// The parameters of a query string that nobody has taken yet.
#[derive(Debug)]
pub(crate) struct Parameters {
    pairs: Vec<(String, String)>,
}

impl Parameters {
    pub(crate) fn of(uri: &Uri) -> Result<Parameters, Problem> {
        let query = Query::<Vec<(String, String)>>::try_from_uri(uri);
        let Query(pairs) = query.map_err(|_| Problem::bad_request("the query string cannot be read"))?;
        if pairs.len() > PARAMETERS_MAX {
            let detail = format!("a query string has at most {PARAMETERS_MAX} parameters");
            return Err(Problem::bad_request(detail).with_limit(PARAMETERS_MAX as u64));
        }
        Ok(Parameters { pairs })
    }

    /// Takes a parameter that may be given once.
    pub(crate) fn take(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let mut found = self.pairs.extract_if(.., |(key, _)| key == name).map(|(_, value)| value);
        let first = found.next();
        match found.next() {
            None => Ok(first),
            Some(_) => Err(Problem::parameter(name, format!("{name} is given more than once"))),
        }
    }

    /// Takes a parameter that is a whole number.
    pub(crate) fn take_number(&mut self, name: &str) -> Result<Option<u64>, Problem> {
        let Some(text) = self.take(name)? else { return Ok(None) };
        let shown: String = text.chars().take(80).collect();
        let refused = |_| Problem::parameter(name, format!("{name} is a whole number from 0, not {shown:?}"));
        text.parse().map(Some).map_err(refused)
    }

    /// Takes a parameter that is an identifier in hexadecimal.
    pub(crate) fn take_id<T: FromStr<Err = ParseIdError>>(&mut self, name: &str) -> Result<Option<T>, Problem> {
        let Some(text) = self.take(name)? else { return Ok(None) };
        text.parse().map(Some).map_err(|error: ParseIdError| Problem::parameter(name, error.to_string()))
    }

    /// Takes the number of items of a page.
    pub(crate) fn take_limit(&mut self) -> Result<usize, Problem> {
        match self.take_number("limit")?.map(|limit| (limit, usize::try_from(limit))) {
            None => Ok(PAGE_ITEMS_DEFAULT),
            Some((_, Ok(limit))) if (1..=PAGE_ITEMS_MAX).contains(&limit) => Ok(limit),
            Some((limit, _)) => {
                let detail = format!("limit is 1 to {PAGE_ITEMS_MAX}, not {limit}");
                Err(Problem::parameter("limit", detail).with_limit(PAGE_ITEMS_MAX as u64))
            }
        }
    }

    /// Takes the cursor of a page of this store.
    pub(crate) fn take_page_cursor(&mut self, store: StoreId) -> Result<Option<Position>, Problem> {
        let Some(text) = self.take("cursor")? else { return Ok(None) };
        // A page may lie anywhere in the store, so only the store's name is checked.
        Ok(Some(text.parse::<Place>()?.resolve(store, Position(u64::MAX))?))
    }

    /// Takes all conditions of a filter.
    pub(crate) fn take_filter(&mut self) -> Result<Filter, Problem> {
        let taken: Vec<_> = self.pairs.extract_if(.., |(name, _)| Filter::is_key(name)).collect();
        Ok(Filter::parse(taken.iter().map(|(name, value)| (name.as_str(), value.as_str())))?)
    }

    /// Ends the reading: what nobody took is unknown here.
    pub(crate) fn finish(self, known: &[&str]) -> Result<(), Problem> {
        let Some((name, _)) = self.pairs.into_iter().next() else { return Ok(()) };
        let shown: String = name.chars().take(80).collect();
        let detail = format!("{shown:?} is no parameter of this route");
        let remedy = if known.is_empty() {
            "this route has no parameters".to_owned()
        } else {
            format!("known are {}", known.join(", "))
        };
        Err(Problem::parameter(&shown, detail).with_remedy(remedy))
    }
}

/// The cursor of the page after a position.
pub(crate) fn page_cursor(store: StoreId, next: Option<Position>) -> Option<String> {
    next.map(|position| Cursor { store, position }.to_string())
}

impl<S: Service> Call<S> {
    /// The query string's parameters.
    pub(crate) fn parameters(&self) -> Result<Parameters, Problem> {
        Parameters::of(self.request.uri())
    }

    /// Refuses any query parameter.
    pub(crate) fn no_parameters(&self) -> Result<(), Problem> {
        if self.request.uri().query().is_none() { Ok(()) } else { self.parameters()?.finish(&[]) }
    }

    /// The record that the path names.
    pub(crate) fn record(&self) -> Result<RecordId, Problem> {
        self.path_parameter("id").parse().map_err(|error: ParseIdError| Problem::parameter("id", error.to_string()))
    }

    /// The member that the path names.
    pub(crate) fn member(&self) -> Result<MemberCode, Problem> {
        self.path_parameter("member")
            .parse()
            .map_err(|error: vatra_model::ids::ParseIdError| Problem::parameter("member", error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parameters(query: &str) -> Parameters {
        Parameters::of(&format!("/x?{query}").parse().unwrap()).unwrap()
    }

    fn field(problem: Problem) -> String {
        assert_eq!(problem.status().as_u16(), 400);
        problem.field_name().unwrap_or_default().to_owned()
    }

    #[test]
    fn parameters_are_taken_once_and_the_rest_is_refused_by_name() {
        let mut taken = parameters("limit=5&severity=severe&colour=red");
        assert_eq!(taken.take_limit().unwrap(), 5);
        assert!(!taken.take_filter().unwrap().is_empty());
        assert_eq!(field(taken.finish(&["limit"]).unwrap_err()), "colour");
        assert_eq!(field(parameters("limit=1&limit=2").take_limit().unwrap_err()), "limit");
        for bad in ["limit=0", "limit=1001", "limit=-1", "limit=x", "limit="] {
            assert_eq!(field(parameters(bad).take_limit().unwrap_err()), "limit", "{bad}");
        }
        for bad in ["since=x", "since=-1", "since=", "since=99999999999999999999"] {
            let problem = parameters(bad).take_number("since").unwrap_err();
            assert!(format!("{problem:?}").contains("since is a whole number from 0, not "), "{problem:?}");
        }
        assert_eq!(field(parameters("severity=loud").take_filter().unwrap_err()), "severity");
        assert_eq!(parameters("").take_limit().unwrap(), PAGE_ITEMS_DEFAULT);
    }

    #[test]
    fn page_cursors_belong_to_their_store() {
        let store = StoreId([7; 16]);
        let text = page_cursor(store, Some(Position(9))).unwrap();
        let mut good = parameters(&format!("cursor={text}"));
        assert_eq!(good.take_page_cursor(store).unwrap(), Some(Position(9)));
        let foreign = parameters(&format!("cursor={text}")).take_page_cursor(StoreId([8; 16])).unwrap_err();
        assert_eq!((foreign.status().as_u16(), foreign.field_name()), (409, Some("cursor")));
        assert_eq!(field(parameters("cursor=nonsense").take_page_cursor(store).unwrap_err()), "cursor");
    }

    proptest! {
        #[test]
        fn any_query_string_is_read_or_refused(query in "[a-z%&=0-9+]{0,80}") {
            if let Ok(mut parameters) = Parameters::of(&format!("/x?{query}").parse().unwrap()) {
                let _limit = parameters.take_limit();
                let _filter = parameters.take_filter();
                let _rest = parameters.finish(&[]);
            }
        }
    }
}
