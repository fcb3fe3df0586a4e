//! A way to a server that can be cut, so that the server is away for one process alone.

use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Hands connections on to another port, while it is open.
pub(crate) struct Relay {
    port: u16,
    open: watch::Sender<bool>,
    asked: Arc<watch::Sender<u64>>,
}

impl Relay {
    /// An open one.
    pub(crate) async fn start(to: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let (open, is_open) = watch::channel(true);
        let asked = Arc::new(watch::Sender::new(0));
        let count = asked.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                count.send_modify(|count| *count += 1);
                let mut is_open = is_open.clone();
                tokio::spawn(async move {
                    if !*is_open.borrow_and_update() {
                        return;
                    }
                    let Ok(mut far) = TcpStream::connect(("127.0.0.1", to)).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = is_open.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Self { port, open, asked }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Breaks all connections and lets none through.
    pub(crate) fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Lets connections through again.
    pub(crate) fn mend(&self) {
        self.open.send_replace(true);
    }

    /// Waits until somebody has come so many times more.
    pub(crate) async fn is_asked(&self, times: u64) {
        let mut asked = self.asked.subscribe();
        let most = *asked.borrow() + times;
        asked.wait_for(|count| *count >= most).await.expect("the relay runs");
    }
}
