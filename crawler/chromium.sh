#!/bin/sh
# Starts Chromium ($CHROMIUM) with a profile in which it asks for nothing ahead of a click: pages name addresses to be
# fetched or drawn in advance ("speculation rules"), no switch turns that off, and no request of it can be stopped.
for each in "$@"; do
  case $each in
    --user-data-dir=*)
      folder=${each#--user-data-dir=}/Default
      mkdir -p "$folder" && printf '{"net":{"network_prediction_options":2}}' > "$folder/Preferences" || exit 1
      ;;
  esac
done
exec "$CHROMIUM" "$@"
