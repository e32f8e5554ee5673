//! The bottom of the stack: a request becomes a verb of the store again.

use std::sync::Arc;
use std::task::{Context, Poll};

use tower::Service;

use super::super::{BlobStore, Error};
use super::request::{Answering, BlobAnswer, BlobRequest};

/// A store as a service. It is always ready: how many calls it gets is decided above.
#[derive(Clone, Debug)]
pub(super) struct Driver(pub(super) Arc<dyn BlobStore>);

impl Service<BlobRequest> for Driver {
    type Response = BlobAnswer;
    type Error = Error;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: BlobRequest) -> Answering {
        let store = Arc::clone(&self.0);
        Box::pin(async move {
            Ok(match request {
                BlobRequest::Put(at, sealed) => {
                    store.put(&at, sealed).await?;
                    BlobAnswer::Done
                }
                BlobRequest::Read(at, range) => BlobAnswer::Bytes(store.read(&at, range).await?),
                BlobRequest::Head(at) => BlobAnswer::Info(store.head(&at).await?),
                BlobRequest::Delete(at) => {
                    store.delete(&at).await?;
                    BlobAnswer::Done
                }
                BlobRequest::List { placed, after, limit } => {
                    BlobAnswer::Page(store.list(&placed, after.as_ref(), limit).await?)
                }
                BlobRequest::Locate => BlobAnswer::Place(store.locate().await?),
            })
        })
    }
}
