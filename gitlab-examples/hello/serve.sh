# Serves the page on $PORT with whatever the base image has.
port=${PORT:-8080}
if command -v busybox >/dev/null; then
  exec busybox httpd -f -p "$port" -h /srv/page
fi
exec python3 -m http.server --directory /srv/page "$port"
