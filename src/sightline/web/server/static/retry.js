// Repeats the request for the page that a link on another site led to: now the cookie is sent.
const url = new URL(location.href);
url.searchParams.set("retry", "");
location.replace(url);
