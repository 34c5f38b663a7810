//! Tests of the identity face without a database.

use crate::testing::{app, get};

#[tokio::test]
async fn a_cloud_without_users_says_so_and_tells_of_fixed_tokens() {
    let app = app();
    let (status, body) = get(&app, "/v3/users", "t-admin").await;
    assert_eq!(status, 404);
    assert!(body["error"]["message"].as_str().is_some_and(|why| why.contains("keeps no users")), "{body}");
    let headers = [("x-auth-token", "t-member"), ("x-subject-token", "t-member")];
    let ask = |path: &'static str| crate::testing::request("GET", path, &headers, "");
    let (status, body) = crate::testing::json(app.handle(ask("/identity/v3/auth/tokens")).await).await;
    assert_eq!(status, 200);
    assert_eq!(body["token"]["project"]["id"], "p1");
    let types: Vec<_> =
        body["token"]["catalog"].as_array().expect("a list").iter().map(|one| &one["type"]).collect();
    assert!(types.contains(&&serde_json::json!("compute")), "{types:?}");
    let (_, body) = crate::testing::json(app.handle(ask("/v3/auth/tokens?nocatalog")).await).await;
    assert!(body["token"].get("catalog").is_none(), "{body}");
    let others = [("x-auth-token", "t-member"), ("x-subject-token", "t-admin")];
    let request = crate::testing::request("GET", "/v3/auth/tokens", &others, "");
    assert_eq!(app.handle(request).await.status(), 404, "a member is told nothing of others' tokens");
    let others = [("x-auth-token", "t-admin"), ("x-subject-token", "t-member")];
    let request = crate::testing::request("HEAD", "/v3/auth/tokens", &others, "");
    assert_eq!(app.handle(request).await.status(), 200);
}
