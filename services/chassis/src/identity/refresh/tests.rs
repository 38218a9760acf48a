use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use synapse_test_support::eventually;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use url::Url;

use super::{
    super::{
        Refusal,
        keys::{Checker, Failure},
        test_keys::*,
    },
    *,
};

/// Keys that are kept fresh until the end of the test.
struct Fresh {
    keys: Arc<Keys>,
    loaded: Arc<AtomicUsize>,
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

impl Fresh {
    fn start(source: &KeySource, pace: impl FnOnce(&mut Pace)) -> Self {
        let mut keys = Keys::load(source).unwrap();
        pace(&mut keys.source.as_mut().unwrap().pace);
        let (keys, loaded, shutdown) = (Arc::new(keys), Arc::new(AtomicUsize::new(0)), Shutdown::new());
        let task = tokio::spawn({
            let (keys, loaded, shutdown) = (keys.clone(), loaded.clone(), shutdown.clone());
            async move { keys.keep_fresh(&shutdown, || _ = loaded.fetch_add(1, Ordering::SeqCst)).await }
        });
        Self { keys, loaded, shutdown, task }
    }

    /// As [`Authenticator::identify`](super::super::Authenticator::identify) does it.
    async fn accepts(&self, token: &str) -> bool {
        let checker = Checker::new(&[], &[]);
        match checker.check(token, &self.keys.current()) {
            Err(Failure::UnknownKey) if self.keys.read_again().await => {
                checker.check(token, &self.keys.current()).is_ok()
            }
            outcome => outcome.is_ok(),
        }
    }

    async fn first_loaded(&self) {
        eventually("the first keys", async || (self.loaded.load(Ordering::SeqCst) > 0).then_some(())).await;
    }

    async fn end(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}

fn set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

const NEVER: Duration = Duration::from_hours(1);

/// A server that gives each connection the next answer, and its last one for ever.
struct Server {
    url: Url,
    hits: Arc<AtomicUsize>,
    answers: Arc<Mutex<VecDeque<Vec<u8>>>>,
}

impl Server {
    async fn start(answers: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys?tenant=1", listener.local_addr().unwrap()).parse().unwrap();
        let answers = Arc::new(Mutex::new(answers.into_iter().collect::<VecDeque<_>>()));
        let hits = Arc::new(AtomicUsize::new(0));
        let server = Self { url, hits: hits.clone(), answers: answers.clone() };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answer = {
                    let mut answers = answers.lock().unwrap();
                    if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() }
                };
                hits.fetch_add(1, Ordering::SeqCst);
                answer_one(stream, &answer.unwrap_or_default()).await;
            }
        });
        server
    }

    fn then(&self, answer: Vec<u8>) {
        let mut answers = self.answers.lock().unwrap();
        answers.clear();
        answers.push_back(answer);
    }

    fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }

    fn source(&self) -> KeySource {
        KeySource::Url(self.url.clone())
    }
}

async fn answer_one(mut stream: TcpStream, answer: &[u8]) {
    let mut request = vec![0; 1024];
    let length = stream.read(&mut request).await.unwrap_or(0);
    assert!(request[..length].starts_with(b"GET /keys?tenant=1 HTTP/1.1\r\n"));
    // The client may have hung up on what it does not want to read.
    let _ = stream.write_all(answer).await;
}

fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[tokio::test]
async fn a_key_file_is_read_again_when_it_changes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    std::fs::write(&path, set(&[ED.jwk("old")])).unwrap();
    let fresh = Fresh::start(&KeySource::File(path.clone()), |pace| {
        pace.every = Duration::from_millis(20);
        pace.at_least_apart = Duration::ZERO;
        pace.retry = (pace.every, pace.every);
    });
    let (old, new) = (ED.sign_as(Some("old"), &claims()), OTHER_ED.sign_as(Some("new"), &claims()));
    assert!(fresh.accepts(&old).await);

    // Both for a while, as a rotation should be; replaced in one step, as Kubernetes does it.
    let replace = |text: String| {
        std::fs::write(directory.path().join("next"), text).unwrap();
        std::fs::rename(directory.path().join("next"), &path).unwrap();
    };
    replace(set(&[ED.jwk("old"), OTHER_ED.jwk("new")]));
    eventually("the new key", async || fresh.accepts(&new).await.then_some(())).await;
    assert!(fresh.accepts(&old).await);

    replace(set(&[OTHER_ED.jwk("new")]));
    eventually("the end of the old key", async || (!fresh.accepts(&old).await).then_some(())).await;

    // A broken file takes no key away.
    replace("{".to_owned());
    assert!(fresh.keys.read_again().await);
    assert!(fresh.accepts(&new).await);
    std::fs::remove_file(&path).unwrap();
    assert!(fresh.keys.read_again().await);
    assert!(fresh.accepts(&new).await);
    replace(set(&[ED.jwk("back")]));
    let back = ED.sign_as(Some("back"), &claims());
    eventually("the file again", async || fresh.accepts(&back).await.then_some(())).await;
    fresh.end().await;
}

#[tokio::test]
async fn an_unknown_key_has_the_set_read_again_at_once() {
    let server =
        Server::start([ok(&set(&[ED.jwk("old")])), ok(&set(&[ED.jwk("old"), RSA.jwk("new")]))]).await;
    let fresh = Fresh::start(&server.source(), |pace| {
        (pace.every, pace.at_least_apart) = (NEVER, Duration::ZERO);
    });
    fresh.first_loaded().await;
    assert!(fresh.accepts(&ED.sign_as(Some("old"), &claims())).await);
    assert_eq!(server.hits(), 1);
    assert!(fresh.accepts(&RSA.sign_as(Some("new"), &claims())).await);
    assert_eq!(server.hits(), 2);
    fresh.end().await;
}

#[tokio::test]
async fn tokens_of_unknown_keys_can_not_make_us_hammer_the_server() {
    let server = Server::start([ok(&set(&[ED.jwk("ours")]))]).await;
    let fresh = Fresh::start(&server.source(), |pace| (pace.every, pace.at_least_apart) = (NEVER, NEVER));
    fresh.first_loaded().await;
    for index in 0..50 {
        let kid = format!("made-up-{index}");
        assert!(!fresh.accepts(&OTHER_ED.sign_as(Some(&kid), &claims())).await);
    }
    assert!(!fresh.accepts(&OTHER_ED.sign_as(Some("ours"), &claims())).await);
    assert_eq!(server.hits(), 1);
    fresh.end().await;
}

#[tokio::test]
async fn keys_come_from_a_server_that_was_down_at_the_start_and_stay_when_it_fails_later() {
    let (unavailable, junk) = (b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n".to_vec(), ok("<html>"));
    let redirect = b"HTTP/1.1 302 Go\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".to_vec();
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"keys\":[".to_vec();
    let huge = ok(&" ".repeat(MAX_DOCUMENT_BYTES + 1));
    let empty = ok(&set(&[]));
    let good = ok(&set(&[EC.jwk("a")]));
    let answers = [Vec::new(), unavailable.clone(), redirect, junk, cut, huge, empty, good];
    let server = Server::start(answers).await;
    let fresh = Fresh::start(&server.source(), |pace| {
        pace.every = Duration::from_millis(10);
        pace.retry = (Duration::from_millis(10), Duration::from_millis(10));
    });
    let token = EC.sign_as(Some("a"), &claims());
    fresh.first_loaded().await;
    assert!(server.hits() >= 8);
    assert!(fresh.accepts(&token).await);

    server.then(unavailable);
    let before = server.hits();
    eventually("three more attempts", async || (server.hits() > before + 3).then_some(())).await;
    assert!(fresh.accepts(&token).await);
    fresh.end().await;
}

#[tokio::test]
async fn while_there_are_no_keys_a_token_is_put_off_rather_than_refused() {
    let environment = crate::settings::Environment::from_map([("JWKS_URL", "http://127.0.0.1:1/keys")]);
    let common = crate::settings::Common::read(&environment, 1).unwrap();
    let authenticator = super::super::Authenticator::new(&common).unwrap();
    let shutdown = Shutdown::new();
    let (refusal, ()) = tokio::join!(
        async {
            let refusal = authenticator.identify(Some(&ED.sign_as(Some("a"), &claims()))).await;
            shutdown.cancel();
            refusal
        },
        authenticator.keep_keys_fresh(&shutdown, || panic!("there is no server")),
    );
    assert_eq!(refusal, Err(Refusal::KeysUnavailable));
}

#[test]
fn keys_that_can_not_check_signatures_are_passed_over() {
    let with = |pair: &Pair, name: &str, value: Value| {
        let mut jwk = pair.jwk("x");
        jwk[name] = value;
        jwk
    };
    let secret = json!({ "kty": "oct", "kid": "x", "k": "c2VjcmV0", "alg": "HS256" });
    let off_curve = with(&EC, "x", json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
    for unusable in [
        secret,
        off_curve,
        with(&RSA, "use", json!("enc")),
        with(&RSA, "alg", json!("HS256")),
        with(&RSA, "alg", json!("ES256")),
        with(&RSA, "alg", json!("RSA-OAEP")),
        with(&EC, "alg", json!("RS256")),
        with(&ED, "crv", json!("X25519")),
        with(&RSA, "n", json!("!")),
        WEAK_RSA.jwk("x"),
        json!({ "kty": "future" }),
        json!(7),
    ] {
        assert!(jwks::read(set(std::slice::from_ref(&unusable)).as_bytes()).is_err(), "{unusable}");
        let beside = jwks::read(set(&[unusable, ED.jwk("ours")]).as_bytes()).unwrap();
        assert_eq!(beside.len(), 1);
        let checker = Checker::new(&[], &[]);
        assert!(checker.check(&ED.sign_as(Some("ours"), &claims()), &beside).is_ok());
    }
    let many: Vec<_> = (0..101).map(|index| ED.jwk(&index.to_string())).collect();
    assert!(jwks::read(set(&many).as_bytes()).unwrap_err().to_string().contains("101"));
    for document in ["", "[]", "{}", "{\"keys\":{}}", "\u{feff}{\"keys\":[]}"] {
        assert!(jwks::read(document.as_bytes()).is_err(), "{document}");
    }
}

#[test]
fn in_a_set_the_kid_chooses_the_key_and_the_key_the_algorithm() {
    let keys =
        jwks::read(set(&[ED.jwk("a"), OTHER_ED.jwk("b"), EC.jwk("c"), RSA.jwk("d")]).as_bytes()).unwrap();
    let checker = Checker::new(&[], &[]);
    let check = |token: String| checker.check(&token, &keys);
    assert!(check(OTHER_ED.sign_as(Some("b"), &claims())).is_ok());
    assert!(check(EC.sign_as(Some("c"), &claims())).is_ok());
    assert!(matches!(check(ED.sign_as(Some("b"), &claims())), Err(Failure::Refused(_))));
    assert!(matches!(check(EC.sign_as(Some("a"), &claims())), Err(Failure::Refused(_))));
    assert!(matches!(check(ED.sign_as(Some("z"), &claims())), Err(Failure::UnknownKey)));
    let mut nameless = ED.jwk("x");
    nameless.as_object_mut().unwrap().remove("kid");
    let nameless = jwks::read(set(&[nameless]).as_bytes()).unwrap();
    assert!(matches!(checker.check(&ED.sign_as(Some("z"), &claims()), &nameless), Err(Failure::UnknownKey)));
    assert!(checker.check(&ED.sign(&claims()), &nameless).is_ok());
    // Without a kid every key of the algorithm is tried.
    assert!(check(OTHER_ED.sign(&claims())).is_ok());
    assert!(check(RSA.sign(&claims())).is_ok());
    let confused = hs256(RSA.public_pem.as_bytes(), &claims());
    assert!(matches!(check(confused), Err(Failure::Refused(_))));
}
