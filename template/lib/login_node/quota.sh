# shellcheck shell=bash
# How many more files there may be where an environment is to be. The Alliance's disks have a quota for that, too, of which
# two environments can be a tenth.

# mind_the_quota: says how many files an environment has and how many more there may be, as diskusage_report says; where
# that is known not to be enough, nothing is built
mind_the_quota() {
  local place used limit files room
  read -r used limit place < <(files_used) || return 0
  files=$(files_of "$path")
  room=$((limit > used ? limit - used : 0))
  ((room >= ENVIRONMENT_FILES)) \
    || die no_room_for_files path="$path" disk="$place" room="$room" used="$used" limit="$limit" files="$ENVIRONMENT_FILES"
  say room_for_files disk="$place" room="$room" used="$used" limit="$limit" files="$files"
}

# files_of ENVIRONMENT: prints how many files pip has put into it, or what one has at least, where there is none yet
files_of() {
  local files
  files=$({ cat "$1"/lib/python*/site-packages/*.dist-info/RECORD 2>/dev/null || true; } | wc -l)
  printf '%s\n' "$((files > ENVIRONMENT_FILES ? files : ENVIRONMENT_FILES))"
}

# files_used: prints used, limit and disk of the line of diskusage_report that speaks of the environment's place, "/home (alice)"
# or "/project (group def-prof)"; false where there is none. Its numbers are 25/500k, 791k/1005k
# (docs.alliancecan.ca/wiki/Storage_and_file_management).
files_used() {
  local folder=$path disk
  command -v diskusage_report >/dev/null || return 1
  until [[ -d $folder ]]; do folder=$(dirname "$folder"); done
  folder=$(cd -P -- "$folder" && pwd)
  disk="/project [(](group|project) $(stat -c %G "$folder")[)]"
  [[ $folder/ != "$(cd -P ~ && pwd)"/* ]] || disk="(/home|Home) [(][^)]*[)]"
  timeout --kill-after="$SSH_ANSWER" "$SLURM_ANSWER" diskusage_report 2>/dev/null | LC_ALL=C awk -v disk="^ *$disk " '
    function number(text) {
      return text * (text ~ /[kK]/ ? 1000 : text ~ /M/ ? 1000000 : 1)
    }
    $0 ~ disk && split($NF, files, "/") == 2 && $NF ~ /^[0-9.]+[kKM]?\/[0-9.]+[kKM]?$/ {
      name = $0
      sub(/[)].*/, ")", name)
      sub(/^ */, "", name)
      printf "%d %d %s\n", number(files[1]), number(files[2]), name
      found = 1
      exit
    }
    END { exit !found }'
}
