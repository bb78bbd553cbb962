import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** What short Java programs do: objects, strings, collections, sorting. Prints "last N": seconds of the last round. */
public class Work {
    record Row(int id, String name, int[] tags) {}

    static final int ROUNDS = 24, ROWS = 60000;

    static int round(int seed) {
        List<Row> rows = new ArrayList<>();
        for (int i = 0; i < ROWS; i++)
            rows.add(new Row(i, "row " + (i * 7919L + seed) % 10007, new int[] {i % 7, i % 11}));
        Map<String, Integer> byName = new HashMap<>();
        for (Row row : rows)
            byName.merge(row.name(), row.tags()[1], Integer::sum);
        rows.sort((a, b) -> a.name().equals(b.name()) ? a.id() - b.id() : a.name().compareTo(b.name()));
        return byName.size() + rows.get(0).id() + byName.get("row 7");
    }

    public static void main(String[] arguments) {
        long took = 0;
        int check = 0;
        for (int i = 0; i < ROUNDS; i++) {
            long begin = System.nanoTime();
            check = (check * 31 + round(i)) % 1000003;
            took = System.nanoTime() - begin;
        }
        if (check != 487960)
            throw new IllegalStateException("" + check);
        System.out.println("last " + took / 1e9);
    }
}
