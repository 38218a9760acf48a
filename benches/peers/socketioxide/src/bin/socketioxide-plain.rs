//! See the library.

use socketioxide_peer::{Failure, run};

#[tokio::main]
async fn main() -> Result<(), Failure> {
    run().await
}
