import io.delta.kernel.Scan;
import io.delta.kernel.Snapshot;
import io.delta.kernel.Table;
import io.delta.kernel.data.ColumnarBatch;
import io.delta.kernel.data.FilteredColumnarBatch;
import io.delta.kernel.data.Row;
import io.delta.kernel.defaults.engine.DefaultEngine;
import io.delta.kernel.engine.Engine;
import io.delta.kernel.internal.InternalScanFileUtils;
import io.delta.kernel.internal.data.ScanStateRow;
import io.delta.kernel.internal.util.Utils;
import io.delta.kernel.types.StructType;
import io.delta.kernel.utils.CloseableIterator;
import java.util.Optional;
import org.apache.hadoop.conf.Configuration;

/** Reads every column of Delta tables by Delta Kernel; prints name, rows and the sum of kafka_offset of each. */
public class CountRows {
  public static void main(String[] folders) throws Exception {
    Engine engine = DefaultEngine.create(new Configuration());
    for (String folder : folders) {
      Snapshot snapshot = Table.forPath(engine, folder).getLatestSnapshot(engine);
      Scan scan = snapshot.getScanBuilder().build();
      int offset = snapshot.getSchema().indexOf("kafka_offset");
      long rows = 0;
      long sum = 0;
      try (CloseableIterator<FilteredColumnarBatch> files = scan.getScanFiles(engine)) {
        while (files.hasNext()) {
          try (CloseableIterator<Row> added = files.next().getRows()) {
            while (added.hasNext()) {
              try (CloseableIterator<FilteredColumnarBatch> batches = read(engine, scan, added.next())) {
                while (batches.hasNext()) {
                  try (CloseableIterator<Row> each = batches.next().getRows()) {
                    while (each.hasNext()) {
                      sum += each.next().getLong(offset);
                      rows++;
                    }
                  }
                }
              }
            }
          }
        }
      }
      System.out.println(folder.substring(folder.lastIndexOf('/') + 1) + " " + rows + " " + sum);
    }
  }

  private static CloseableIterator<FilteredColumnarBatch> read(Engine engine, Scan scan, Row file) throws Exception {
    Row state = scan.getScanState(engine);
    StructType columns = ScanStateRow.getPhysicalDataReadSchema(engine, state);
    CloseableIterator<ColumnarBatch> data =
        engine
            .getParquetHandler()
            .readParquetFiles(
                Utils.singletonCloseableIterator(InternalScanFileUtils.getAddFileStatus(file)),
                columns,
                Optional.empty());
    return Scan.transformPhysicalData(engine, state, file, data);
  }
}
