# What jq defines in its own language, beyond the native filters in natives.rs.
# A definition may call only itself and those above it.

def not: if . then false else true end;
def values: if . == null then empty else . end;
def nulls: if . == null then . else empty end;
def select(f): if f then . else empty end;
def booleans: select(type == "boolean");
def numbers: select(type == "number");
def strings: select(type == "string");
def arrays: select(__is_array);
def objects: select(__is_object);
def iterables: select(type | . == "array" or . == "object");
def scalars: select(type | . != "array" and . != "object");
def finites: select(isinfinite or isnan | not);
def normals: select(isnormal);
def error(f): f | error;
def map(f): [.[] | f];
def map_values(f): .[] |= f;
def tostring: "\(.)";
def @text: "\(.)";
def @json: tojson;
def toarray: if type == "array" then . else [.] end;
def input_filename: null;

# Generators
def range($upto): range(0; $upto; 1);
def range($from; $upto): range($from; $upto; 1);
def recurse: ..;
def recurse(f): def down: ., (f | down); down;
def recurse(f; condition): def down: ., (f | select(condition) | down); down;
def repeat(f): def again: f, again; again;
def while(condition; update): def on: if condition then ., (update | on) else empty end; on;
def until(condition; update): def on: if condition then . else update | on end; on;
def first: .[0];
def last: .[-1];
def nth($n): .[$n];
def nth($n; f): if $n < 0 then error("Out of bounds negative array index") else first(skip($n; f)) end;
def isempty(f): first((f | false), true);
def any(f; condition): isempty(first(f | condition or empty)) | not;
def all(f; condition): isempty(first(f | condition and empty));
def any(condition): any(.[]; condition);
def all(condition): all(.[]; condition);
def any: any(.[]; .);
def all: all(.[]; .);
def add(f): reduce f as $x (null; . + $x);
def add: add(.[]);
def in(container): . as $key | container | has($key);
def inside(container): . as $part | container | contains($part);
def IN(f): any(f == .; .);
def IN(source; f): any(source == f; .);
def INDEX(source; f): reduce source as $row ({}; .[$row | f | tostring] = $row);
def INDEX(f): INDEX(.[]; f);

# Arrays
def sort_by(f): __sort_by([.[] | [f]]);
def group_by(f): __group_by([.[] | [f]]);
def unique_by(f): [group_by(f)[] | .[0]];
def min_by(f): __min_by([.[] | [f]]);
def max_by(f): __max_by([.[] | [f]]);
def sort: __sort_by(.);
def unique: [__group_by(.)[] | .[0]];
def min: __min_by(.);
def max: __max_by(.);
def flatten: __flatten(-1);
def flatten($depth):
  if $depth < 0 then error("flatten depth must not be negative") else __flatten($depth) end;
def transpose: (map(length) | max) as $width | [range($width // 0) as $i | map(.[$i])];
def combinations:
  if length == 0 then []
  else .[0][] as $head | (.[1:] | combinations) as $tail | [$head] + $tail end;
def combinations($n): . as $set | [range($n) | $set] | combinations;
def index($part): indices($part)[0];
def rindex($part): indices($part)[-1];

# Objects
def from_entries:
  reduce .[] as $entry ({};
    . + ($entry
      | { (if .key != null then .key
           else .k // .name // .Name // .K // .Key end):
          (if has("value") then .value elif has("v") then .v
           elif has("Value") then .Value else .V end) }));
def with_entries(f): to_entries | map(f) | from_entries;
def walk(f):
  def down:
    if __is_object then .[] |= down elif __is_array then [.[] | down] else . end | f;
  down;

# Paths
def getpath($path):
  if $path | __is_array | not then error("Path must be specified as an array")
  else reduce $path[] as $key (.; .[$key]) end;
def setpath($path; $value): getpath($path) = $value;
def del(f): delpaths([path(f)]);
def paths: path(..) | select(length > 0);
def paths(f): path(.. | select(f)) | select(length > 0);
def leaf_paths: paths(scalars);
def pick(f): . as $whole | reduce path(f) as $path (null; setpath($path; $whole | getpath($path)));

# Streams
def tostream:
  def down($at):
    if (type | . == "object" or . == "array") and length > 0 then
      keys_unsorted as $keys
      | ($keys[] as $key | .[$key] | down($at + [$key])), [$at + [$keys[-1]]]
    else [$at, .] end;
  down([]);
def fromstream(f):
  foreach f as $event ({};
    if .whole then {} else . end
    | ($event[0] | length) as $depth
    | if ($event | length) == 2 then
        setpath(["value"] + $event[0]; $event[1]) | .whole = ($depth == 0)
      else .whole = ($depth == 1) end;
    if .whole then .value else empty end);
def truncate_stream(f):
  . as $depth | null | f | select((.[0] | length) > $depth) | .[0] |= .[$depth:];
def limit($n; f): if $n < 0 then f else __limit($n; f) end;

# Regular expressions
def test($re): __test($re; null);
def test($re; $flags): __test($re; $flags);
def match($re): __matches($re; null)[];
def match($re; $flags): __matches($re; $flags)[];
def capture($re; $flags):
  match($re; $flags)
  | reduce (.captures[] | select(.name)) as $group ({}; .[$group.name] = $group.string);
def capture($re): capture($re; null);
def scan($re; $flags):
  match($re; "g" + $flags) | if .captures == [] then .string else [.captures[].string] end;
def scan($re): scan($re; null);
def split($re; $flags): [__pieces($re; "g" + $flags)[] | strings];
def splits($re; $flags): split($re; $flags)[];
def splits($re): split($re; null)[];
def sub($re; f; $flags):
  [__pieces($re; $flags)[] | if type == "object" then [f] else . end]
  | range([.[] | arrays | length] | if . == [] then 1 else min end) as $i
  | reduce .[] as $piece (""; . + if ($piece | type) == "array" then $piece[$i] else $piece end);
def sub($re; f): sub($re; f; null);
def gsub($re; f; $flags): sub($re; f; "g" + $flags);
def gsub($re; f): sub($re; f; "g");

# Time
def todate: strftime("%Y-%m-%dT%H:%M:%SZ");
def todateiso8601: todate;
def fromdateiso8601: strptime("%Y-%m-%dT%H:%M:%SZ") | mktime;
def fromdate: fromdateiso8601;
def localtime: gmtime;
def strflocaltime($format): strftime($format);
