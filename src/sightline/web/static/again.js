// Asks once more for the page that a link on another site led to: now the cookie comes along.
const url = new URL(location.href);
url.searchParams.set("again", "");
location.replace(url);
