//! Terms that a process remembers wrongly: every write that rests on them fails then, and the next one is exact
//! (promises P1 and P4).

use portmaster_domain::{StateKind, Terms};
use portmaster_registry::Content;

use crate::ground::{Ground, content, cooling, ports, put, told, why, with_terms};

const STRICT: Terms = Terms { lease: Some(30), max_lease: Some(100), cooldown: 50, quarantine: 70 };

/// A service without terms, a process that knows it so, and then the strict terms.
async fn changed() -> (Ground, crate::ground::Process) {
    let ground = Ground::new(5000, 5019).await;
    let process = ground.process(0).await;
    assert_eq!(put(process.put("known", "", 60).await), (5000, true));
    ground.change(|old| Content { terms: STRICT, ..old }).await.unwrap();
    (ground, process)
}

/// A claim under terms that are no longer the service's is withdrawn and made again, before anybody is told of it.
#[tokio::test]
async fn a_claim_has_the_terms_that_the_look_shows() {
    for (seconds, granted) in [(0, 30), (60, 60), (1000, 100)] {
        let (ground, process) = changed().await;
        let made = process.put("web", "job-1", seconds).await.unwrap();
        assert_eq!((put(Ok(made.clone())).1, told(made.claim()), made.claim().terms), (true, Some(granted), STRICT));
        let (ground_of_sets, process_of_sets) = changed().await;
        let set = process_of_sets.set(&["a", "b"], "job-1", seconds, true).await.unwrap();
        assert!(set.claims.iter().all(|claim| told(claim) == Some(granted) && claim.terms == STRICT), "{set:?}");
        let (ground_of_offers, process_of_offers) = changed().await;
        let offer = process_of_offers.offer("web", "").await.unwrap();
        assert_eq!(offer.claim.terms, STRICT);
        assert_eq!(told(&process_of_offers.accept(offer.secret, seconds).await.unwrap().0), Some(granted));
        for (ground, all) in [(ground, 2), (ground_of_sets, 3), (ground_of_offers, 2)] {
            let listed = ground.process(0).await.list(StateKind::Allocated).await;
            assert_eq!((listed.len(), ground.process(0).await.list(StateKind::Offered).await.len()), (all, 0));
            ground.assert_healthy().await;
        }
    }
}

/// The same the other way round: the process takes the service to be strict, and it no longer is.
#[tokio::test]
async fn a_claim_has_no_terms_once_the_service_has_none() {
    let ground = Ground::with(with_terms(5000, 5019, STRICT)).await;
    let process = ground.process(0).await;
    assert_eq!(told(process.put("known", "", 0).await.unwrap().claim()), Some(30));
    ground.change(|_| content(5000, 5019)).await.unwrap();
    let made = process.put("web", "", 0).await.unwrap();
    assert_eq!((told(made.claim()), made.claim().terms), (None, Terms::default()));
    let set = process.set(&["a", "b"], "", 0, false).await.unwrap();
    assert!(set.claims.iter().all(|claim| told(claim).is_none()), "{set:?}");
    ground.assert_healthy().await;
}

/// A process that guesses wrongly grants, renews and cools by the terms of the claim, and not by what it guessed. (The
/// model's `AcceptTerms`, `AcceptNoTerms`, `RenewTerms`, `RenewNoTerms`, `ReleaseTerms`, `ReleaseNoTerms`,
/// `ReleasePortTerms` and `ReleasePortNoTerms`.)
#[tokio::test]
async fn a_wrong_guess_changes_no_terms() {
    for strict in [false, true] {
        let terms = if strict { STRICT } else { Terms::default() };
        let others = if strict { Terms::default() } else { STRICT };
        // It has seen a claim under the other terms, of the service as it was or as it will be.
        let ground = Ground::with(with_terms(5000, 5019, others)).await;
        let wrong = async || {
            let process = ground.process(0).await;
            let seen = process.offer("seen", "").await.unwrap();
            process.accept(seen.secret, 60).await.unwrap();
            process.release("seen", "").await.unwrap();
            process
        };
        let (one, two, three, four) = (wrong().await, wrong().await, wrong().await, wrong().await);
        ground.pass(50);
        ground.change(|old| Content { terms, ..old }).await.unwrap();
        let right = ground.process(0).await;
        let offer = right.offer("web", "job-1").await.unwrap();
        let accepted = one.accept(offer.secret, 0).await.unwrap().0;
        assert_eq!(accepted.terms, terms);
        assert_eq!(told(&accepted), strict.then_some(50 + 30));
        if strict {
            assert_eq!(told(&two.renew("5000", "job-1", 1000).await.unwrap()), Some(150));
        } else {
            right.release("web", "job-1").await.unwrap();
            right.put("web", "job-1", 60).await.unwrap();
            right.renew("web", "job-1", 61).await.unwrap();
            assert_eq!(told(&two.renew("5000", "job-1", 1000).await.unwrap()), Some(1050));
        }
        let cools = if strict { Some(StateKind::Cooling) } else { None };
        let state = async || right.find(5000).await.ok().map(|claim| claim.state.kind());
        three.release("5000", "job-1").await.unwrap();
        assert_eq!(state().await, cools);
        right.put("web", "job-1", 60).await.unwrap();
        four.release("web", "job-1").await.unwrap();
        assert_eq!(state().await, cools);
        assert_eq!(ground.number(5000, "expires_at").await.map(|at| at - 1_800_000_000), strict.then_some(100));
        ground.assert_healthy().await;
    }
}

/// A claim keeps the terms under which it was made: a change of the service applies to what is claimed after it.
#[tokio::test]
async fn a_claim_keeps_its_terms() {
    let ground = Ground::with(with_terms(5000, 5009, cooling(50))).await;
    let process = ground.process(0).await;
    assert_eq!(put(process.put("web", "job-1", 60).await), (5000, true));
    // From now on it is known that somebody was told of it.
    process.renew("web", "job-1", 60).await.unwrap();
    ground.change(|old| Content { terms: STRICT, ..old }).await.unwrap();
    assert_eq!(told(process.put("web", "job-1", 1000).await.unwrap().claim()), Some(1000));
    assert_eq!(told(&process.renew("web", "job-1", 2000).await.unwrap()), Some(2000));
    ground.change(|old| Content { terms: Terms::default(), ..old }).await.unwrap();
    process.release("web", "job-1").await.unwrap();
    assert_eq!(process.find(5000).await.unwrap().state.kind(), StateKind::Cooling);
    assert_eq!(ports(process.set(&["a", "b"], "", 60, false).await).0, [5002, 5003]);
    assert_eq!(why(process.put_at("next", "", 5000, 60).await), "port-taken");
    ground.assert_healthy().await;
}
