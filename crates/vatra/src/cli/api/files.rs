//! Files to and from a node: neither side holds one whole.

use std::io::Read;

use ureq::SendBody;
use ureq::http::{Method, Request};

use super::{Api, ApiError};

impl Api {
    /// Reads a resource that is a small file.
    pub(crate) fn get_bytes(&self, path: &str, bytes_max: u64) -> Result<Vec<u8>, ApiError> {
        let answer = self.exchange(Method::GET, path, "", None, &[])?;
        let reader = answer.into_body().into_with_config().limit(bytes_max);
        reader.read_to_vec().map_err(|error| self.network(error))
    }

    /// Posts a small file, or nothing; the answer is a file that the caller reads.
    pub(crate) fn post_file(
        &self,
        path: &str,
        content_type: &str,
        body: Option<Vec<u8>>,
    ) -> Result<impl Read + use<>, ApiError> {
        let answer = self.exchange(Method::POST, path, content_type, Some(body.unwrap_or_default()), &[])?;
        Ok(answer.into_body().into_with_config().limit(u64::MAX).reader())
    }

    /// Posts a file of so many bytes; the answer is read by the caller, line by line. Nothing of the file goes before
    /// the node wants it: a refusal that came while it is sent would be lost with the connection.
    pub(crate) fn upload(
        &self,
        path: &str,
        content_type: &str,
        body: impl Read + 'static,
        bytes: u64,
    ) -> Result<Box<dyn Read>, ApiError> {
        let mut request = Request::builder().method(Method::POST).uri(format!("{}{path}", self.base));
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let request = request.header("content-type", content_type).header("content-length", bytes);
        let request = request.header("expect", "100-continue").body(SendBody::from_owned_reader(body));
        let answer = self.agent.run(request.map_err(|error| self.unexpected(error.to_string()))?);
        let answer = answer.map_err(|error| self.network(error))?;
        if !answer.status().is_success() {
            return Err(self.refusal(answer));
        }
        Ok(Box::new(answer.into_body().into_with_config().limit(super::ANSWER_BYTES_MAX).reader()))
    }
}
