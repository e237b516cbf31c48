//! The status page: files that are part of the program, so that there is nothing to install, and nothing from elsewhere.

use axum::Router;
use axum::http::header;
use axum::routing::get;

/// Scripts, styles and data of our own, and nothing else: no inline script either, whatever should get into the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";

/// Path, type and content.
const FILES: [(&str, &str, &str); 9] = [
    ("/", HTML, include_str!("page/page.html")),
    ("/page.css", CSS, include_str!("page/page.css")),
    ("/page.js", JS, include_str!("page/page.js")),
    ("/dom.js", JS, include_str!("page/dom.js")),
    ("/format.js", JS, include_str!("page/format.js")),
    ("/history.js", JS, include_str!("page/history.js")),
    ("/model.js", JS, include_str!("page/model.js")),
    ("/table.js", JS, include_str!("page/table.js")),
    ("/topology.js", JS, include_str!("page/topology.js")),
];

pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.into_iter().fold(Router::new(), |routes, (path, content_type, content)| {
        let headers = [(header::CONTENT_TYPE, content_type), (header::CONTENT_SECURITY_POLICY, POLICY)];
        routes.route(path, get(move || async move { (headers, content) }))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// A file that is missing is found out when the page is looked at, and not before.
    #[test]
    fn every_file_of_the_page_is_served() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/page");
        let mut files: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .filter(|name| [".html", ".css", ".js"].iter().any(|end| name.ends_with(end)))
            .map(|name| if name == "page.html" { "/".to_owned() } else { format!("/{name}") })
            .collect();
        files.sort();
        let mut served = FILES.map(|(path, ..)| path);
        served.sort_unstable();
        assert_eq!(files, served);
    }
}
